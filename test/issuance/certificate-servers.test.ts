import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type CertUpdate, parseMessage } from "../../src/feed/message.ts";
import { readDer } from "../../src/issuance/certificate.ts";
import { identify } from "../../src/issuance/identity.ts";
import { normalizeSerial } from "../../src/issuance/serial.ts";

/** Messages byte for byte: captured from the running servers, or written as these versions write them. */
const messagesOf = (server: string): CertUpdate[] =>
  readFileSync(new URL(`../fixtures/server-messages/${server}.jsonl`, import.meta.url), "utf8")
    .trim()
    .split("\n")
    .map((line) => {
      const message = parseMessage(Buffer.from(line));
      if (message.type !== "certificate_update") throw new Error(`not an update: ${line}`);
      return message.update;
    });

describe.each(["certstream-server-go", "certstream-server-rust", "calidog"])("what %s says", (server) => {
  const cases = messagesOf(server).map((update, i) => [i + 1, update] as const);

  test.each(cases)("in message %i, its DER says, too", (_, update) => {
    const reading = readDer(Buffer.from(update.asDerBase64!, "base64"));
    if (reading.state !== "read") throw new Error(reading.problem);
    const { certificate } = reading;
    const withoutDer = { ...update, asDerBase64: null };
    expect(identify({ ...withoutDer, ...certificate }).issuanceId).toBe(identify(withoutDer).issuanceId);
    expect(certificate).toMatchObject({
      fingerprintSha1: update.fingerprintSha1,
      notBeforeEpochSeconds: update.notBeforeEpochSeconds,
      notAfterEpochSeconds: update.notAfterEpochSeconds,
      issuerCn: update.issuerCn,
      issuerO: update.issuerO,
      issuerAggregated: update.issuerAggregated,
      subjectCn: update.subjectCn,
      isPrecertificate: update.updateType === "PrecertLogEntry",
    });
    expect(normalizeSerial(certificate.serial)).toBe(normalizeSerial(update.serial));
    expect([...certificate.allDomains].sort()).toEqual([...update.allDomains].sort());
  });
});
