import { isIP } from "node:net";
import { describeTable } from "../db/describe-table.ts";
import type { Database } from "../db/pool.ts";
import { precertificateUpdateType } from "../feed/message.ts";
import type { PendingCertificate } from "../issuance/pending.ts";
import { normalizeSerial } from "../issuance/serial.ts";
import { conversionBudget, normalName } from "../watchlist/domain.ts";
import {
  findByFingerprint,
  findBySerial,
  findByTbs,
  type RecognisedIssuance,
  type SerialQuestion,
  type SerialRow,
} from "./find.ts";

/** By what a certificate was recognised as one's own. The strongest comes first; `none` means it was not. */
export type MatchBasis = "fingerprint" | "tbs" | "serial" | "none";

/** What the inventory knows about a certificate. */
export interface Recognition {
  basis: MatchBasis;
  /**
   * The `fingerprint_sha1` of the row that recognised it; from now on this row cannot excuse another issuance. `null`
   * when no row is used up.
   */
  inventoryRow: string | null;
  /** When the basis is `none`: what almost matched. */
  nearMiss: NearMiss | null;
  /** The TBS hash of the row that recognised it; `null` where that has none, or where no row was found. */
  rowTbsSha256: string | null;
}

/**
 * Why a certificate was not recognised, although something pointed to the inventory or could have.
 *
 * - `other contents`: an inventory row has its serial number, validity and names, and another TBS hash
 * - `already used`: such a row has recognised another issuance
 * - `unreadable`: the DER has no TBS hash that certwatch can read; only its SHA-1 could recognise it
 * - `no certificate`: what the feed sent as DER is no certificate
 */
export type NearMiss = "other contents" | "already used" | "unreadable" | "no certificate";

const none: Recognition = { basis: "none", inventoryRow: null, rowTbsSha256: null, nearMiss: null };
const deadlineMs = 10_000;
/** How often to ask whether the table has the column `tbs_sha256`: upstream may add it while certwatch runs. */
const columnCheckMs = 60_000;

/** Looks certificates up in the inventory, many at a time. */
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
   * Looks certificates up: first by fingerprint, then by TBS hash, then by serial number. Each lookup asks only for the
   * certificates that the ones before did not find. It sends four statements at most.
   *
   * @returns the recognition of each certificate, by its `id`.
   * @throws the database's error; then nothing is known about any of the certificates.
   */
  async recognise(certificates: PendingCertificate[]): Promise<Map<number, Recognition>> {
    const recognitions = new Map<number, Recognition>();
    const unrecognised = () => certificates.filter(({ id }) => !recognitions.has(id));
    await this.#checkColumn();

    const fingerprints = certificates.map(({ fingerprint }) => fingerprint).filter((hex) => hex !== "");
    const byFingerprint = await findByFingerprint(this.#db, [...new Set(fingerprints)], {
      hasTbsColumn: this.#hasTbsColumn,
      deadlineMs,
    });
    for (const certificate of certificates) {
      const { id, fingerprint, derState } = certificate;
      const rowTbs = byFingerprint.get(fingerprint);
      if (derState === "junk") recognitions.set(id, { ...none, nearMiss: "no certificate" });
      // SHA-1 collides, and a feed may claim any: where both TBS hashes are known, they have to agree. An event without DER
      // has the hash of a certificate that was merged into it.
      else if (rowTbs !== undefined && (derState === "unreadable" || !differ(certificate.tbsSha256, rowTbs)))
        recognitions.set(id, {
          ...none,
          basis: "fingerprint",
          inventoryRow: fingerprint,
          rowTbsSha256: rowTbs,
        });
      else if (derState === "unreadable") recognitions.set(id, { ...none, nearMiss: "unreadable" });
    }

    const hashes = unrecognised().flatMap(({ tbsSha256 }) => tbsSha256 ?? []);
    const byTbs = this.#hasTbsColumn
      ? await findByTbs(this.#db, [...new Set(hashes)], deadlineMs)
      : new Map<string, string>();
    for (const { id, tbsSha256 } of unrecognised()) {
      const inventoryRow = byTbs.get(tbsSha256 ?? "");
      if (inventoryRow !== undefined)
        recognitions.set(id, { ...none, basis: "tbs", inventoryRow, rowTbsSha256: tbsSha256 });
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

/**
 * Only a precertificate is looked up by its serial number, and only when serial number and validity are known. Returns
 * an empty list for all others.
 */
function serialQuestion(certificate: PendingCertificate): SerialQuestion[] {
  const serial = normalizeSerial(certificate.serial);
  const { notBefore, notAfter, updateType } = certificate;
  if (updateType !== precertificateUpdateType || serial === null || notBefore === null || notAfter === null)
    return [];
  return [
    {
      issuance_id: certificate.issuanceId,
      serial,
      serial_key: certificate.serialKey,
      not_before: notBefore,
      not_after: notAfter,
    },
  ];
}

/**
 * These rows have the serial number of the certificate. They recognise it if validity, names and contents are the same,
 * too. All rows with the same serial number, validity and names together excuse one issuance.
 */
function judgeSerialRows(certificate: PendingCertificate, rows: SerialRow[]): Recognition {
  const twins = rows.filter(
    (row) =>
      row.notBefore === certificate.notBefore &&
      row.notAfter === certificate.notAfter &&
      hasNamesOf(certificate, row),
  );
  const row = twins.find(({ tbsSha256 }) => !differ(certificate.tbsSha256, tbsSha256));
  if (row === undefined) return { ...none, nearMiss: twins.length > 0 ? "other contents" : null };
  const serial = { ...none, basis: "serial" as const, rowTbsSha256: row.tbsSha256 };
  const recognised = twins.flatMap((twin) => twin.recognised);
  // If the issuance is known to be one's own by fingerprint or TBS hash, this does not use up its one excuse.
  if (recognised.some((issuance) => issuance.isCertain && isOf(certificate, issuance))) return serial;
  if (!recognised.every((issuance) => isOf(certificate, issuance))) {
    return { ...none, nearMiss: "already used" };
  }
  return { ...serial, inventoryRow: row.fingerprint };
}

function isOf(certificate: PendingCertificate, issuance: RecognisedIssuance): boolean {
  return issuance.issuanceId === certificate.issuanceId && !differ(certificate.tbsSha256, issuance.tbsSha256);
}

/** Whether both are known and not equal. */
function differ(one: string | null, other: string | null): boolean {
  return one !== null && other !== null && one !== other;
}

/**
 * Whether a certificate and a row have the same set of DNS names, normalized. Servers append the CN to a certificate's
 * names, and the row may lack the CN. The DER tells whether the CN is a DNS name. Without DER, a CN that the row lacks
 * is ignored only if no watch entry covers the CN.
 */
function hasNamesOf(certificate: PendingCertificate, row: SerialRow): boolean {
  if (!Array.isArray(row.sans)) return false;
  const wanted = nameSet(row.sans.flatMap(dnsName));
  if (isSameSet(nameSet(certificate.sans), wanted)) return true;
  if (certificate.derState !== null)
    return certificate.dnsNames !== null && isSameSet(nameSet(certificate.dnsNames), wanted);
  if (certificate.subjectCn === null || certificate.isCnWatched) return false;
  const names = nameSet(certificate.sans);
  const [commonName] = nameSet([certificate.subjectCn]);
  return names.delete(commonName!) && isSameSet(names, wanted);
}

/** A name of an inventory row, without OpenSSL's `DNS:` before it. IP, e-mail and URI names are none. */
function dnsName(name: unknown): string[] {
  if (typeof name !== "string") return [];
  const text = name.trim().replace(/^DNS:/i, "");
  return isIP(text) !== 0 || /^(IP( Address)?|email|URI):/i.test(text) || /@|:\/\//.test(text) ? [] : [text];
}

function nameSet(names: string[]): Set<string> {
  const budget = conversionBudget();
  return new Set(names.map((name) => normalName(name, budget)));
}

function isSameSet(one: Set<string>, other: Set<string>): boolean {
  return one.size === other.size && [...one].every((name) => other.has(name));
}
