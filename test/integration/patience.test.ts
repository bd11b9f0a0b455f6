import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { concurrency } from "../../src/alerts/held-events.ts";
import { Patience } from "../../src/alerts/patience.ts";
import type { Severity } from "../../src/alerts/payload.ts";
import { type Behaviour, type Delivery, startWebhookReceiver } from "../../src/demo/receiver.ts";
import { openAnyDatabase } from "../program/bed.ts";
import { openReplicas, type Replica, startAfresh } from "../support/outbox.ts";
import { final, insertInventory, inventoryRow, ours, theirs } from "../support/updates.ts";
import { waitUntil } from "../support/wait.ts";

// Receivers that take so many alerts in so much time and refuse the rest, as Slack and Discord do. A second of theirs is
// 50 ms here.

const secondMs = 50;
const patience = () =>
  new Patience({
    firstWaitMs: secondMs,
    longestWaitMs: 60 * secondMs,
    paceMs: secondMs,
  });

/** Takes `limit` alerts in each `windowMs`, refuses the rest, and says which severity it took, in order. */
class LimitedReceiver {
  readonly taken: { id: number; severity: Severity; request: number }[] = [];
  requests = 0;
  readonly #takenAtMs: number[] = [];
  readonly #limit: number;
  readonly #windowMs: number;
  readonly #refusal: Behaviour;

  constructor(limit: number, windowMs: number, refusal: Behaviour) {
    this.#limit = limit;
    this.#windowMs = windowMs;
    this.#refusal = refusal;
  }

  readonly respond = ({ json }: Delivery): Behaviour => {
    const nowMs = performance.now();
    const { alert_id: id, severity } = json as { alert_id: number; severity: Severity };
    this.requests += 1;
    if (this.#takenAtMs.filter((atMs) => atMs > nowMs - this.#windowMs).length >= this.#limit) {
      return this.#refusal;
    }
    this.#takenAtMs.push(nowMs);
    this.taken.push({ id, severity, request: this.requests });
    return 200;
  };

  /** The severities that it took once `requests` had come, in order and without repetitions. */
  severitiesAfter(requests: number): Severity[] {
    return this.taken
      .filter(({ request }) => request > requests)
      .map(({ severity }) => severity)
      .filter((severity, i, all) => severity !== all[i - 1]);
  }
}

const named = { status: 429, headers: { "Retry-After": String(secondMs / 1000) } };
const receivers: [string, number, () => LimitedReceiver][] = [
  ["10 suspicious to one a second", 10, () => new LimitedReceiver(1, secondMs, named)],
  ["60 suspicious to five in two seconds", 60, () => new LimitedReceiver(5, 2 * secondMs, named)],
  ["10 suspicious to one in two seconds, no wait named", 10, () => new LimitedReceiver(1, 2 * secondMs, 429)],
  [
    "10 suspicious to one a second, by 503",
    10,
    () => new LimitedReceiver(1, secondMs, { ...named, status: 503 }),
  ],
];

describe("a receiver that asks for patience", () => {
  let replica: Replica;
  let other: Replica;
  beforeAll(async () => {
    const opened = await openReplicas(openAnyDatabase);
    ({ replica, other } = opened);
    return opened.close;
  });
  beforeEach(async () => {
    await startAfresh(replica, other);
    for (const { metrics } of [replica, other]) metrics.webhook.reset();
  });

  const infoCount = 30;
  async function makeEvents(suspiciousCount: number): Promise<void> {
    const hijacks = Array.from({ length: suspiciousCount }, () =>
      theirs.issue({ dnsNames: ["example.org"] }),
    );
    const renewals = Array.from({ length: infoCount }, () => ours.issue({ dnsNames: ["example.org"] }));
    await insertInventory(replica.db, ...renewals.map((issuance) => inventoryRow(issuance)));
    await replica.record([...renewals, ...hijacks].map((issuance) => final(issuance)));
    await replica.judge();
  }

  /** Starts a deliverer of its own; the returned function stops it. */
  function start(by: Replica, url: string): () => Promise<void> {
    const { deliverer, sender } = by.deliverer(url, { patience: patience() });
    deliverer.settling.start();
    deliverer.claiming.start();
    return async () => {
      await deliverer.stop(10_000);
      await sender.close();
    };
  }

  const waiting = () =>
    replica.value<number>("SELECT count(*)::int FROM public.alerts WHERE next_attempt_at IS NOT NULL");

  /** Every event was taken once, at its first attempt: what was refused was none. */
  async function expectAllTaken({ taken, requests }: LimitedReceiver, count: number): Promise<void> {
    expect(requests).toBeGreaterThan(count);
    expect(taken.map(({ id }) => id).sort((a, b) => a - b)).toEqual(
      Array.from({ length: count }, (_, i) => i + 1),
    );
    const rows = await replica.query(
      `SELECT DISTINCT delivered, attempts, expired_claims, given_up_at, postponed_since FROM public.alerts`,
    );
    expect(rows).toEqual([
      { delivered: true, attempts: 1, expired_claims: 0, given_up_at: null, postponed_since: null },
    ]);
    expect(
      await replica.value("SELECT DISTINCT last_error FROM public.alerts WHERE last_error <> ''"),
    ).toMatch(/^the receiver answered (429|503)/);
  }

  describe.each(receivers)("%s, with 30 info behind them", (_, suspiciousCount, limited) => {
    const total = suspiciousCount + infoCount;

    test("takes them all, the suspicious ones first", async () => {
      const receiver = limited();
      const { url, close } = await startWebhookReceiver({ respond: receiver.respond });
      await makeEvents(suspiciousCount);
      const stop = start(replica, url);
      await waitUntil("the last alert to be delivered", waiting, (count) => count === 0);
      await stop();
      await close();
      await expectAllTaken(receiver, total);
      // The first attempts are under way together: which of those it takes is its own affair.
      expect(["info", "suspicious,info"]).toContain(receiver.severitiesAfter(concurrency).join());
      expect(replica.logged("the receiver asks for patience")).toHaveLength(1);
      const failures = await replica.metric("webhook_total", { result: "failure" });
      expect(failures).toBe(receiver.requests - total);
    });

    test("takes them all from a process that is restarted, and from two replicas", async () => {
      const receiver = limited();
      const { url, close } = await startWebhookReceiver({ respond: receiver.respond });
      await makeEvents(suspiciousCount);
      const stopFirst = start(replica, url);
      await waitUntil(
        "the first alerts",
        () => receiver.taken.length,
        (count) => count > 5,
      );
      await stopFirst();
      const { requests } = receiver;
      const { length } = receiver.taken;
      const stops = [start(replica, url), start(other, url)];
      await waitUntil("the last alert to be delivered", waiting, (count) => count === 0);
      for (const stop of stops) await stop();
      await close();
      await expectAllTaken(receiver, total);
      // Each began with one attempt, not with as many as there are connections.
      expect(receiver.taken[length]!.request - requests).toBeLessThan(concurrency / 2);
    });
  });
});
