import { describeTable } from "../db/describe-table.ts";
import type { Database } from "../db/pool.ts";
import { normalizeSerial, precertificateUpdateType } from "../issuance/identity.ts";
import type { PendingCertificate } from "../issuance/pending.ts";
import { conversionBudget, normalName } from "../watchlist/domain.ts";
import {
  findByFingerprint,
  findBySerial,
  findByTbs,
  type RecognisedIssuance,
  type SerialQuestion,
  type SerialRow,
} from "./find.ts";

/** How a certificate was recognised as one's own, strongest first; `none`: it was not. */
export type MatchBasis = "fingerprint" | "tbs" | "serial" | "none";

/** What the inventory says of a certificate. */
export interface Recognition {
  basis: MatchBasis;
  /** The inventory row (`fingerprint_sha1`) that recognises it and excuses no other issuance; `null`: there is none. */
  inventoryRow: string | null;
  /** With `none`: what came close. */
  nearMiss: NearMiss | null;
}

/**
 * A precertificate has serial number, validity and names of an inventory row, but: `other contents`, the TBS hashes
 * differ; `already used`, the row has recognised another issuance.
 */
export type NearMiss = "other contents" | "already used";

const none: Recognition = { basis: "none", inventoryRow: null, nearMiss: null };
const deadlineMs = 10_000;
/** An upstream table may get its column while certwatch runs. */
const columnCheckMs = 60_000;

/** The inventory of one's own certificates, asked in batches. */
export class Inventory {
  readonly #db: Database;
  readonly #precertMatch: "serial" | "tbs";
  #hasTbsColumn = false;
  #nextColumnCheckMs = 0;

  constructor(db: Database, precertMatch: "serial" | "tbs") {
    this.#db = db;
    this.#precertMatch = precertMatch;
  }

  /**
   * Looks certificates up, each basis only for those that a stronger one did not find. At most four queries.
   *
   * @returns what the inventory says of each `id`.
   * @throws the database's error: then nothing is known about any of them.
   */
  async recognise(certificates: PendingCertificate[]): Promise<Map<number, Recognition>> {
    const recognitions = new Map<number, Recognition>();
    const unrecognised = () => certificates.filter(({ id }) => !recognitions.has(id));
    await this.#checkColumn();

    const fingerprints = certificates.map(({ fingerprint }) => fingerprint).filter((hex) => hex !== "");
    const byFingerprint = await findByFingerprint(this.#db, [...new Set(fingerprints)], deadlineMs);
    for (const { id, fingerprint } of certificates) {
      if (byFingerprint.has(fingerprint))
        recognitions.set(id, { ...none, basis: "fingerprint", inventoryRow: fingerprint });
    }

    const hashes = unrecognised().flatMap(({ tbsSha256 }) => tbsSha256 ?? []);
    const byTbs = this.#hasTbsColumn
      ? await findByTbs(this.#db, [...new Set(hashes)], deadlineMs)
      : new Map<string, string>();
    for (const { id, tbsSha256 } of unrecognised()) {
      const inventoryRow = byTbs.get(tbsSha256 ?? "");
      if (inventoryRow !== undefined) recognitions.set(id, { ...none, basis: "tbs", inventoryRow });
    }

    const questions = this.#precertMatch === "serial" ? unrecognised().flatMap(serialQuestion) : [];
    const bySerial = await findBySerial(this.#db, questions, {
      hasTbsColumn: this.#hasTbsColumn,
      deadlineMs,
    });
    for (const certificate of unrecognised()) {
      const [question] = serialQuestion(certificate);
      const rows = question === undefined ? [] : (bySerial.get(question.issuance_id) ?? []);
      recognitions.set(certificate.id, judgeSerialRows(certificate, rows));
    }
    return recognitions;
  }

  async #checkColumn(): Promise<void> {
    if (performance.now() < this.#nextColumnCheckMs) return;
    const table = await describeTable(this.#db, "public.certs", deadlineMs);
    this.#hasTbsColumn = table?.columns.includes("tbs_sha256") ?? false;
    this.#nextColumnCheckMs = performance.now() + columnCheckMs;
  }
}

/** Only a precertificate is looked up by serial number, and only where all that is compared is there. */
function serialQuestion(certificate: PendingCertificate): SerialQuestion[] {
  const serial = normalizeSerial(certificate.serial);
  const { notBefore, notAfter, updateType } = certificate;
  if (updateType !== precertificateUpdateType || serial === null || notBefore === null || notAfter === null)
    return [];
  return [{ issuance_id: certificate.issuanceId, serial, not_before: notBefore, not_after: notAfter }];
}

/** The rows have the certificate's serial number; validity, names and contents have to be the same too. */
function judgeSerialRows(certificate: PendingCertificate, rows: SerialRow[]): Recognition {
  let nearMiss: NearMiss | null = null;
  for (const row of rows) {
    if (row.notBefore !== certificate.notBefore || row.notAfter !== certificate.notAfter) continue;
    if (!hasNamesOf(certificate, row)) continue;
    if (differ(certificate.tbsSha256, row.tbsSha256)) {
      nearMiss = "other contents";
    } else if (row.recognised.some((issuance) => issuance.isCertain && isOf(certificate, issuance))) {
      // Whichever came before: the row is of this issuance, which needs no excuse.
      return { ...none, basis: "serial" };
    } else if (!row.recognised.every((issuance) => isOf(certificate, issuance))) {
      nearMiss ??= "already used";
    } else {
      return { basis: "serial", inventoryRow: row.fingerprint, nearMiss: null };
    }
  }
  return { ...none, nearMiss };
}

function isOf(certificate: PendingCertificate, issuance: RecognisedIssuance): boolean {
  return issuance.issuanceId === certificate.issuanceId && !differ(certificate.tbsSha256, issuance.tbsSha256);
}

/** Both known, and not the same. */
function differ(one: string | null, other: string | null): boolean {
  return one !== null && other !== null && one !== other;
}

/** The same set of names, normalized; a CN that the feed appended to the SANs is left out of account. */
function hasNamesOf(certificate: PendingCertificate, row: SerialRow): boolean {
  if (!Array.isArray(row.sans)) return false;
  const wanted = nameSet(row.sans.filter((name) => typeof name === "string"));
  const names = nameSet(certificate.sans);
  if (isSameSet(names, wanted)) return true;
  const [commonName] = nameSet(certificate.subjectCn === null ? [] : [certificate.subjectCn]);
  return commonName !== undefined && names.delete(commonName) && isSameSet(names, wanted);
}

function nameSet(names: string[]): Set<string> {
  const budget = conversionBudget();
  return new Set(names.map((name) => normalName(name, budget)));
}

function isSameSet(one: Set<string>, other: Set<string>): boolean {
  return one.size === other.size && [...one].every((name) => other.has(name));
}
