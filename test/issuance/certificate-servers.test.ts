import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type CertUpdate, parseMessage } from "../../src/feed/message.ts";
import { readDer } from "../../src/issuance/certificate.ts";
import { identify } from "../../src/issuance/identity.ts";
import { normalizeSerial } from "../../src/issuance/serial.ts";

const folder = new URL("../fixtures/server-messages/", import.meta.url);

/** Messages of the full feeds byte for byte: captured from the running servers, or written as these versions write them. */
const messagesOf = (server: RegExp): [string, CertUpdate][] =>
  readdirSync(folder)
    .filter((file) => server.test(file) && file.includes("full"))
    .flatMap((file): [string, CertUpdate][] => {
      const message = parseMessage(readFileSync(new URL(file, folder)));
      if (message.type !== "certificate_update") throw new Error(`not an update: ${file}`);
      return message.update.asDerBase64 === null ? [] : [[file, message.update]];
    });

describe.each([
  ["certstream-server-go", /^(real-)?go-/],
  ["certstream-server-rust", /^(real-)?rust[-_]/],
  ["CaliDog's server", /^elixir_/],
])("what %s says", (_server, pattern) => {
  const cases = messagesOf(pattern);
  test("is in the fixtures", () => expect(cases.length).toBeGreaterThan(5));

  test.each(cases)("in %s, its DER says, too", (_, update) => {
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
