import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Bed, messageOf, openAnyDatabase, openBedOn } from "../program/bed.ts";
import { secrets } from "../support/secrets.ts";

let bed: Bed;
beforeAll(async () => {
  bed = await openBedOn(openAnyDatabase);
});
afterAll(() => bed?.close());

test("the library's own verifier accepts the bytes received, of each attempt, and no others", async () => {
  const received: { bytes: Buffer; headers: IncomingHttpHeaders }[] = [];
  const wanted = 2;
  let haveAll = () => {};
  const all = new Promise<void>((resolve) => {
    haveAll = resolve;
  });
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      received.push({ bytes: Buffer.concat(chunks), headers: request.headers });
      response.writeHead(received.length < wanted ? 500 : 204).end();
      if (received.length === wanted) haveAll();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const program = await bed.start({ WEBHOOK_URL: `http://127.0.0.1:${port}/` });
  const text = 'Bücher & "Söhne" \u2028 \ud83d\udd12 \ud800 \u0000';
  await bed.simulator.sendRaw(
    messageOf(["signed.watched.example"], (leaf) => {
      leaf.issuer = { CN: text, O: text };
    }),
  );
  await all;
  expect(await program.stop()).toBe(0);
  await new Promise((resolve) => server.close(resolve));

  const verifier = new Webhook(secrets.webhookSecret);
  for (const { bytes, headers } of received) {
    const signed = headers as Record<string, string>;
    expect(verifier.verify(bytes, signed)).toMatchObject({ matched_sans: ["signed.watched.example"] });
    expect(Number(headers["content-length"])).toBe(bytes.length);
    const changed = Buffer.from(bytes);
    changed[bytes.indexOf('"suspicious"') + 1] = 0x53;
    expect(() => verifier.verify(changed, signed)).toThrow();
    expect(() => verifier.verify(bytes, { ...signed, "webhook-id": "certwatch_1_0" })).toThrow();
    expect(() => verifier.verify(bytes, { ...signed, "webhook-timestamp": "1" })).toThrow();
    const other = new Webhook(`whsec_${Buffer.from("another secret of 24 bytes").toString("base64")}`);
    expect(() => other.verify(bytes, signed)).toThrow();
  }
  const ids = received.map(({ headers }) => headers["webhook-id"]);
  expect(new Set(ids).size).toBe(1);
  // A second after the other, each with its own time.
  expect(Number(received[1]!.headers["webhook-timestamp"])).toBeGreaterThan(
    Number(received[0]!.headers["webhook-timestamp"]),
  );
});
