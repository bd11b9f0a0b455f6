import type { Database } from "../db/pool.ts";
import { Inventory, type Recognition } from "../inventory/recognise.ts";
import type { PendingCertificate } from "../issuance/pending.ts";
import type { Verdict } from "./outbox.ts";
import { openIncidentsWithoutTbs } from "./sql/open-incidents.ts";
import { verdictOf } from "./verdict.ts";

const deadlineMs = 15_000;

/** Looks pending certificates up in the inventory, and makes their verdicts. */
export class InventoryLooks {
  readonly #db: Database;
  readonly #inventory: Inventory;
  readonly #precertMatch: "serial" | "tbs";

  constructor(db: Database, precertMatch: "serial" | "tbs") {
    this.#db = db;
    this.#inventory = new Inventory(db, precertMatch);
    this.#precertMatch = precertMatch;
  }

  /**
   * Makes the verdicts that one statement can commit: of distinct issuances, excuses and inventory rows. Only these
   * certificates are looked up. The others come back as `later`, in their order.
   *
   * @param options.onlyKnown certificates that are not recognised get no verdict, and are not `later` either.
   */
  async round(
    certificates: PendingCertificate[],
    { onlyKnown }: { onlyKnown: boolean },
  ): Promise<{ verdicts: Verdict[]; later: PendingCertificate[] }> {
    const { distinct, later } = ofDistinctIssuances(certificates);
    const recognitions = await this.#inventory.recognise(distinct);
    const isKnown = ({ id }: PendingCertificate) => recognitions.get(id)!.basis !== "none";
    const closable = await this.#closableIncidents(distinct.filter(isKnown));
    const claimed = new Set<string>();
    const verdicts: Verdict[] = [];
    for (const certificate of onlyKnown ? distinct.filter(isKnown) : distinct) {
      const recognition = recognitions.get(certificate.id)!;
      const claims = claimsOf(certificate, recognition);
      if (claims.some((claim) => claimed.has(claim))) {
        later.push(certificate);
        continue;
      }
      for (const claim of claims) claimed.add(claim);
      const verdict = verdictOf(certificate, recognition, this.#precertMatch);
      verdicts.push({ ...verdict, closable: closable.get(certificate.issuanceId) ?? [] });
    }
    return { verdicts, later };
  }

  /**
   * Finds the open incidents that these recognised certificates may close although the incident has no TBS hash:
   * incidents of the same issuance whose own certificate the inventory recognises by now. Returns their ids by
   * issuance.
   */
  async #closableIncidents(recognised: PendingCertificate[]): Promise<Map<string, number[]>> {
    const issuanceIds = recognised.map(({ issuanceId }) => issuanceId);
    if (issuanceIds.length === 0) return new Map();
    const byIssuance = new Map<string, number[]>();
    for (let afterId = 0; ; ) {
      const page = await openIncidentsWithoutTbs(this.#db, { issuanceIds, afterId }, deadlineMs);
      if (page.length === 0) return byIssuance;
      const recognitions = await this.#inventory.recognise(page);
      const closable = page.filter(({ id }) => recognitions.get(id)!.basis !== "none");
      for (const { id, issuanceId } of closable)
        byIssuance.set(issuanceId, [...(byIssuance.get(issuanceId) ?? []), id]);
      afterId = page.at(-1)!.id;
    }
  }
}

/** The first certificate of each issuance, and the others. */
function ofDistinctIssuances(certificates: PendingCertificate[]) {
  const issuanceIds = new Set<string>();
  const [distinct, later]: [PendingCertificate[], PendingCertificate[]] = [[], []];
  for (const certificate of certificates) {
    (issuanceIds.has(certificate.issuanceId) ? later : distinct).push(certificate);
    issuanceIds.add(certificate.issuanceId);
  }
  return { distinct, later };
}

/** What a recognised certificate takes: its excuse (see `Identity.serialKey`), and the excuse of its inventory row. */
function claimsOf({ serialKey }: PendingCertificate, { basis, inventoryRow }: Recognition): string[] {
  return [basis === "none" ? null : serialKey, inventoryRow].filter((claim) => claim !== null);
}
