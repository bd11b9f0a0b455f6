import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { WebSocket } from "ws";
import type { LogEntry } from "../../src/demo/log-entry.ts";
import { type CertUpdate, parseMessage } from "../../src/feed/message.ts";
import { type ReadCertificate, readDer } from "../../src/issuance/certificate.ts";
import { identify } from "../../src/issuance/identity.ts";
import { dns, oddCases, subjectAltName } from "../support/odd-certificates.ts";
import { issuanceOf, oddIssuer as issuer } from "./odd-issuance.ts";
import { startTestBed, type TestBed } from "./test-bed.ts";
import type { Submission } from "./test-logs.ts";

const binary = inject("certstreamServerGo");
const kinds = ["X509LogEntry", "PrecertLogEntry"] as const;
const issuanceIdOf = (update: CertUpdate): string => identify({ ...update, asDerBase64: null }).issuanceId;

describe.skipIf(binary === null)("certstream-server-go says of a certificate what its DER says", () => {
  /** Go has the names of the last of several such extensions, certstream-server-rust and we those of all. */
  const twoSans = { extensions: [subjectAltName(dns("second.example.org"))] };
  const cases = { ...oddCases, twoSans };
  const issuances = new Map(Object.entries(cases).map(([name, fields]) => [name, issuanceOf(fields)]));
  const updates: CertUpdate[] = [];
  const entries = new Map<string, LogEntry>();
  let bed: TestBed;
  let client: WebSocket;

  beforeAll(async () => {
    bed = await startTestBed(binary!);
    client = new WebSocket(bed.server.url("full"));
    client.on("message", (data) => {
      const message = parseMessage(data as Buffer);
      if (message.type !== "certificate_update") throw new Error(String(data));
      updates.push(message.update);
    });
    await once(client, "open");
    await bed.server.waitForClients(1);
    const submissions = [...issuances].flatMap(([name, issuance]) =>
      kinds.map((kind) => ({ name, issuance, kind })),
    );
    // The server drops what a client with 300 messages before it has not read.
    for (let from = 0; from < submissions.length; from += 40) {
      await publish(submissions.slice(from, from + 40), `end-${from}.example.org`);
    }
  });

  /** Resolves when the client has had all of them from both logs. */
  async function publish(submissions: (Submission & { name: string })[], endName: string): Promise<void> {
    const end = { issuance: issuer.issue({ dnsNames: [endName] }), kind: "X509LogEntry" } as const;
    for (const { log, publish } of [bed.rfc6962, bed.tiled]) {
      const published = publish(...submissions, end);
      for (const [i, { name, kind }] of submissions.entries()) {
        entries.set(`${log.type} ${kind} ${name}`, published[i]!);
      }
    }
    const isEnd = ({ allDomains }: CertUpdate) => allDomains.includes(endName);
    while (updates.filter(isEnd).length < 2) await once(client, "message");
  }

  afterAll(async () => {
    client?.terminate();
    await bed?.stop();
  });

  const updateOf = (key: string): CertUpdate => {
    const entry = entries.get(key)!;
    const found = updates.find(
      ({ certIndex, sourceUrl }) => certIndex === entry.index && sourceUrl === entry.log.url,
    );
    if (found === undefined) throw new Error(`the server did not send ${key}`);
    return found;
  };
  const certificateOf = (name: string, kind: LogEntry["kind"]): ReadCertificate => {
    const { certificateDer, precertificateDer } = issuances.get(name)!;
    const reading = readDer(kind === "X509LogEntry" ? certificateDer : precertificateDer);
    if (reading.state !== "read") throw new Error(reading.problem);
    return reading.certificate;
  };

  test.each(Object.keys(oddCases))("%s", (name) => {
    for (const kind of kinds) {
      for (const log of ["rfc6962", "tiled"]) {
        const update = updateOf(`${log} ${kind} ${name}`);
        const certificate = certificateOf(name, kind);
        expect(certificate, `${log} ${kind}`).toMatchObject({
          serial: update.serial,
          notBeforeEpochSeconds: update.notBeforeEpochSeconds,
          notAfterEpochSeconds: update.notAfterEpochSeconds,
          issuerCn: update.issuerCn,
          issuerO: update.issuerO,
          subjectCn: update.subjectCn,
          allDomains: update.allDomains,
          isPrecertificate: kind === "PrecertLogEntry",
        });
        // A static-ct precertificate comes without DER and fingerprint. Its serial number is all that names it.
        if (update.asDerBase64 === null && update.serial === null) continue;
        const id = issuanceIdOf(update);
        expect(issuanceIdOf({ ...update, ...certificate }), `${log} ${kind}`).toBe(id);
        if (update.asDerBase64 === null) continue;
        expect(certificate.fingerprintSha1).toBe(update.fingerprintSha1);
      }
    }
  });

  test("but for the names of the first of two lists of subject alternative names", () => {
    const { allDomains } = certificateOf("twoSans", "X509LogEntry");
    expect(allDomains).toEqual(["a.example.org", "second.example.org"]);
    expect(updateOf("rfc6962 X509LogEntry twoSans").allDomains).toEqual([
      "second.example.org",
      "a.example.org",
    ]);
  });
});
