import { expect, test } from "vitest";
import { toRecordedPayload } from "../../src/alerts/payload.ts";
import { toJson } from "../../src/db/json.ts";
import { createAuthority } from "../../src/demo/certificates.ts";
import { type CertUpdate, parseMessage } from "../../src/feed/message.ts";
import { weigh } from "../../src/issuance/evidence.ts";
import { identify } from "../../src/issuance/identity.ts";
import { preCertTbs } from "../../src/issuance/tbs.ts";
import { namesIn, parseWatchEntry } from "../../src/watchlist/domain.ts";
import { type DerEdit, editedDer } from "../support/der-edits.ts";
import { certificateOf } from "../support/hand-made-certificates.ts";
import { naiveEntry } from "../support/naive-matcher.ts";
import { aMessage, namePool, withEdits } from "./hostile-messages.ts";
import { patienceMs, Random, runs, seed } from "./random.ts";

const say = (what: string, count: number) => console.log(`${what}: FUZZ_SEED=${seed}, ${count} runs`);

const keys = [
  ...[
    "message_type",
    "data",
    "leaf_cert",
    "all_domains",
    "subject",
    "issuer",
    "CN",
    "O",
    "aggregated",
    "extensions",
  ],
  ...[
    "subjectAltName",
    "serial_number",
    "fingerprint",
    "sha1",
    "not_before",
    "not_after",
    "as_der",
    "seen",
    "source",
  ],
  ...[
    "name",
    "url",
    "timestamp",
    "cert_index",
    "cert_link",
    "update_type",
    "chain",
    "__proto__",
    "constructor",
  ],
];
const values = [
  ...[
    "certificate_update",
    "example.org",
    "",
    "\0",
    "\ud800",
    "\u202e",
    "PrecertLogEntry",
    "0A",
    "DNS:a.org, DNS:",
  ],
  ...[0, -1, 1e300, 0.5, 2 ** 53, 253_402_300_799, null, true, [], {}, [[]], ["example.org", 1, null]],
];

/** JSON with the members of a message at places where they may or may not belong. */
function aJson(random: Random, depth: number): unknown {
  if (depth === 0 || random.oneIn(5)) return random.pick(values);
  if (random.oneIn(6)) return Array.from({ length: random.below(4) }, () => aJson(random, depth - 1));
  // Not by assignment: `__proto__` has to become a member, as `JSON.parse` makes it.
  const members = Array.from({ length: random.below(8) }, () => {
    return `${JSON.stringify(random.pick(keys))}:${JSON.stringify(aJson(random, depth - 1))}`;
  });
  return JSON.parse(`{${members.join(",")}}`);
}

function aMutant(random: Random, pool: readonly string[]): Buffer {
  if (random.oneIn(4)) return withEdits(random, pool, aMessage(random, pool), 1 + random.below(8));
  const leaf = aJson(random, 3);
  const data = random.oneIn(4) ? aJson(random, 4) : { ...(aJson(random, 2) as object), leaf_cert: leaf };
  return Buffer.from(JSON.stringify({ message_type: "certificate_update", data }));
}

/** What the docstrings of `CertUpdate` promise. */
function problemsOf(update: CertUpdate): string[] {
  const problems: string[] = [];
  const check = (isTrue: boolean, what: string) => isTrue || problems.push(what);
  for (const [name, value] of Object.entries(update)) {
    if (typeof value === "string") check(value !== "", `${name} is empty`);
    if (typeof value === "number") check(Number.isFinite(value), `${name} is no number`);
    check(value === null || typeof value !== "object" || name === "allDomains", `${name} is an object`);
  }
  check(
    update.allDomains.every((name) => typeof name === "string"),
    "a name is no string",
  );
  check(/^[0-9a-f]{40}$/.test(update.fingerprintSha1 ?? "0".repeat(40)), "fingerprint");
  for (const seconds of [update.notBeforeEpochSeconds, update.notAfterEpochSeconds]) {
    check(
      seconds === null || (Number.isInteger(seconds) && Math.abs(seconds) < 2 ** 40),
      "a time is out of range",
    );
  }
  return problems;
}

const messages = runs(20_000);
test(
  `the message parser, and what follows a match, ${messages} messages, FUZZ_SEED=${seed}`,
  () => {
    say("message parser", messages);
    const random = new Random(seed);
    const pool = namePool(seed);
    const ofObjects = Object.getOwnPropertyNames(Object.prototype).sort();
    const types = new Set<string>();
    for (let i = 0; i < messages; i++) {
      const bytes = random.oneIn(50)
        ? Buffer.from(Uint32Array.from({ length: random.below(40) }, () => random.next()).buffer)
        : aMutant(random, pool);
      const repeat = `FUZZ_SEED=${seed}, message ${i}: ${bytes.toString("latin1")}`;
      try {
        const parsed = parseMessage(bytes);
        types.add(parsed.type);
        if (parsed.type !== "certificate_update") continue;
        expect(problemsOf(parsed.update)).toEqual([]);
        const { issuanceId, certificateKey } = identify(parsed.update);
        expect(`${issuanceId} ${certificateKey}`).toMatch(
          /^[0-9a-f]{64} ((claim|junk):[0-9a-f]{40,64}:[0-9a-f]{64}:(final|precertificate)|der:[0-9a-f]{64}|issuance:[0-9a-f]{64}:(final|precertificate))$/,
        );
        const match = { entries: ["example.org"], sans: parsed.update.allDomains, namesTruncated: 0 };
        const stored = toJson(toRecordedPayload(weigh(parsed.update), match, 0));
        // What Postgres refuses in JSONB: U+0000 and lone surrogates, and they are not to arrive escaped either.
        expect(JSON.parse(stored).all_sans.join("").isWellFormed()).toBe(true);
        expect(/(^|[^\\])(\\\\)*\\u(0000|d[89a-f])/i.test(stored)).toBe(false);
      } catch (error) {
        throw new Error(repeat, { cause: error });
      }
    }
    expect(Object.getOwnPropertyNames(Object.prototype).sort()).toEqual(ofObjects);
    expect(types.size).toBeGreaterThanOrEqual(3);
  },
  patienceMs(messages, 2_000),
);

const entries = runs(50_000);
test(
  `watch entries against the definition, ${entries} rows, FUZZ_SEED=${seed}`,
  () => {
    say("watch entries", entries);
    const random = new Random(seed + 1);
    const pool = namePool(seed + 1);
    let usable = 0;
    for (let i = 0; i < entries; i++) {
      const pieces = Array.from({ length: 1 + random.below(3) }, () => random.pick(pool));
      let raw = pieces.join(random.pick(["", ".", "..", " ", "*", "\u3002", "\n"]));
      if (random.oneIn(3)) raw = raw.slice(random.below(4), raw.length - random.below(4));
      const parsed = parseWatchEntry(raw);
      const entry = "entry" in parsed ? parsed.entry : null;
      if (entry !== naiveEntry(raw))
        throw new Error(`FUZZ_SEED=${seed}, row ${i}: ${JSON.stringify({ raw, parsed })}`);
      if (entry === null) continue;
      usable += 1;
      // An entry is in its normal form: read again it is the same, and as a name it is covered by itself.
      expect(parseWatchEntry(entry)).toEqual({ entry });
      expect(namesIn(entry)).toEqual([entry]);
    }
    expect(usable).toBeGreaterThan(entries / 20);
  },
  patienceMs(entries, 5_000),
);

const certificates = runs(20_000);
test(
  `the DER walker, ${certificates} mutated certificates, FUZZ_SEED=${seed}`,
  () => {
    say("DER walker", certificates);
    const random = new Random(seed + 2);
    const { precertificateDer, certificateDer } = createAuthority({
      organization: "Fuzz",
      commonName: "F1",
    }).issue({
      dnsNames: ["a.example.org"],
    });
    const kinds: DerEdit["kind"][] = ["flip", "set", "insert", "delete", "repeat", "truncate"];
    let walked = 0;
    for (let i = 0; i < certificates; i++) {
      const edits = Array.from({ length: 1 + random.below(4) }, () => ({
        kind: random.pick(kinds),
        at: random.next(),
        length: 1 + random.below(60),
        value: random.below(256),
      }));
      const mutant = editedDer(random.pick([precertificateDer, certificateDer]), edits);
      try {
        const tbs = preCertTbs(mutant);
        if (tbs === null) continue;
        walked += 1;
        if (tbs.length > mutant.length || preCertTbs(certificateOf(tbs))?.length !== tbs.length)
          throw new Error("not stable");
      } catch (error) {
        throw new Error(`FUZZ_SEED=${seed}, certificate ${i}: ${Buffer.from(mutant).toString("hex")}`, {
          cause: error,
        });
      }
    }
    expect(walked).toBeGreaterThan(certificates / 50);
  },
  patienceMs(certificates, 10_000),
);
