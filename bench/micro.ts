import { measure } from "mitata";
import { createAuthority } from "../src/demo/certificates.ts";
import { CtLogs } from "../src/feed/ct-logs.ts";
import { parseMessage } from "../src/feed/message.ts";
import { OriginReader } from "../src/feed/origin.ts";
import { canSkip } from "../src/feed/prefilter.ts";
import { tbsSha256 } from "../src/issuance/tbs.ts";
import { buildWatchList } from "../src/watchlist/matcher.ts";
import { makeCorpus, usualWatchList } from "./support/corpus.ts";
import { cold } from "./support/interleaved.ts";
import { type Reporter, runIfMain } from "./support/report.ts";

/** The pieces by themselves, in wall time: for orientation, on a quiet machine. */
export async function micro(report: Reporter): Promise<void> {
  const servers = ["go", "rust", "calidog"] as const;
  for (const entries of [100, 1_000_000]) {
    const { watchList } = await buildWatchList(usualWatchList(entries));
    for (const server of servers) {
      const messages = cold(makeCorpus({ count: 4096, server }));
      await add(report, `prefilter, ${server}, ${entries.toLocaleString("en-US")} entries`, (i) =>
        canSkip(messages(i), watchList.table),
      );
    }
    await add(report, `matcher, one name, ${entries.toLocaleString("en-US")} entries`, (i) =>
      watchList.match(`www.shop${i & 4095}.com`),
    );
  }
  const messages = cold(makeCorpus({ count: 4096 }));
  const origins = new OriginReader(new CtLogs());
  await add(report, "log and index of a message", (i) => origins.read(messages(i)));
  await add(report, "whole parser", (i) => parseMessage(messages(i)));
  await add(report, "JSON.parse", (i) => JSON.parse(messages(i).toString()));
  const { precertificateDer } = createAuthority({ commonName: "Bench CA" }).issue({
    dnsNames: ["a.example", "www.a.example"],
  });
  await add(report, "TBS hash of a precertificate", () => tbsSha256(precertificateDer));
}

async function add(report: Reporter, name: string, body: (i: number) => unknown): Promise<void> {
  let i = 0;
  let sink: unknown;
  const { p50, p25, p75 } = await measure(() => {
    sink = body(i++);
  });
  if (sink === undefined) throw new Error("nothing was measured");
  report({
    name,
    value: p50 / 1000,
    unit: "us",
    bar: null,
    detail: `${(p25 / 1000).toFixed(2)} to ${(p75 / 1000).toFixed(2)}`,
  });
}

await runIfMain(import.meta.url, micro);
