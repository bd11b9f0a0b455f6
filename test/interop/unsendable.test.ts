import { once } from "node:events";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { WebSocket } from "ws";
import { sequence } from "../../src/demo/der.ts";
import { createGapReporter } from "../../src/feed/gap-reporter.ts";
import { Watcher } from "../../src/feed/watcher.ts";
import { readDer } from "../../src/issuance/certificate.ts";
import { createMetrics } from "../../src/metrics.ts";
import { buildWatchList } from "../../src/watchlist/matcher.ts";
import {
  commonName,
  dns,
  generalName,
  type OddFields,
  oddCertificate,
  printable,
} from "../support/odd-certificates.ts";
import { waitUntil } from "../support/wait.ts";
import { readByGo } from "./certificate-transparency-go.ts";
import { issuanceOf, oddIssuer } from "./odd-issuance.ts";
import { startTestBed, type TestBed } from "./test-bed.ts";

const binary = inject("certstreamServerGo");

/** What CAs have issued, and what certificate-transparency-go reads with an error that it calls non-fatal. */
const unsendable: Record<string, OddFields> = {
  "a serial number that begins with a needless zero": { serial: Buffer.from("000001", "hex") },
  "a PrintableString with an underscore": { subject: sequence(commonName(printable("a_b.example.org"))) },
  "an IP address of five octets": {
    subjectAltName: [dns("a.example.org"), generalName(7, Buffer.from("0102030405", "hex"))],
  },
};

describe.skipIf(binary === null)("what certstream-server-go cannot parse, it drops without a word", () => {
  const matched: string[] = [];
  const lines: Record<string, unknown>[] = [];
  const metrics = createMetrics({ version: "0", feeds: [] });
  const log = pino({}, { write: (line: string) => lines.push(JSON.parse(line)) });
  let watcher: Watcher;
  let bed: TestBed;
  let client: WebSocket;

  beforeAll(async () => {
    const { watchList } = await buildWatchList(["example.org"]);
    watcher = new Watcher({
      feeds: ["feed"],
      watchList: () => watchList,
      onMatch: (_update, { sans }) => matched.push(...sans),
      log,
      metrics,
    });
    bed = await startTestBed(binary!);
    client = new WebSocket(bed.server.url("full"));
    client.on("message", (data) => watcher.receive(data as Buffer, 0));
    await once(client, "open");
    await bed.server.waitForClients(1);
  });
  afterAll(async () => {
    client?.terminate();
    await bed?.stop();
  });

  test("Go's parser names an error, and certwatch reads the certificate", async () => {
    const ders = Object.values(unsendable).map((fields) => oddCertificate(fields).der);
    const readings = await readByGo(inject("certificateTransparencyGo")!.readCert, ders);
    expect(readings.map(({ error }) => error)).toEqual(ders.map(() => undefined));
    expect(readings.map(({ warning }) => warning)).toEqual(
      ders.map(() => expect.stringContaining("NonFatalErrors")),
    );
    expect(ders.map((each) => readDer(each).state)).toEqual(ders.map(() => "read"));
  });

  test("the entry never arrives, the gap is counted, and the line about it names the cause", async () => {
    const ordinary = (name: string) =>
      ({ issuance: oddIssuer.issue({ dnsNames: [name] }), kind: "X509LogEntry" }) as const;
    const odd = Object.values(unsendable).map(
      (fields) => ({ issuance: issuanceOf(fields), kind: "X509LogEntry" }) as const,
    );
    const gaps = [bed.rfc6962, bed.tiled].map(({ log: { url }, publish }) => {
      const entries = publish(ordinary("first.example.org"), ...odd, ordinary("last.example.org"));
      return { log_url: url.replace("http://", ""), first: entries[1]!.index, last: entries.at(-2)!.index };
    });
    const ends = () => matched.filter((name) => name === "last.example.org").length;
    await waitUntil("the last entry of both logs", ends, (count) => count === 2);
    expect(matched.filter((name) => !/^(first|last)\./.test(name))).toEqual([]);

    watcher.gaps.settle(performance.now() + 300_000);
    const reporter = createGapReporter({ gaps: watcher.gaps, log, metrics });
    reporter.start();
    await waitUntil(
      "the line about the gaps",
      () => lines.length,
      (count) => count > 0,
    );
    await reporter.stop();
    expect(lines).toMatchObject([
      {
        gaps: expect.arrayContaining(gaps),
        msg: expect.stringMatching(/it cannot parse these certificates/),
      },
    ]);
    const lost = gaps.map(({ log_url }) => ({ log: log_url, count: odd.length }));
    expect(metrics.feedCounts.lostEntries).toEqual(expect.arrayContaining(lost));
  });
});
