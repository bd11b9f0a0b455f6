import { expect, test } from "vitest";
import { FirstLooks } from "../../src/alerts/first-looks.ts";
import type { PendingCertificate } from "../../src/issuance/pending.ts";

const MiB = 1024 * 1024;
let lastId = 0;
const certificate = (rowBytes: number): PendingCertificate => {
  lastId += 1;
  return {
    id: lastId,
    rowBytes,
    issuanceId: "",
    fingerprint: "",
    tbsSha256: null,
    derState: null,
    sans: [],
    dnsNames: null,
    subjectCn: null,
    isCnWatched: false,
    serial: null,
    serialKey: null,
    notBefore: null,
    notAfter: null,
    updateType: null,
    seenAt: 0,
  };
};
const fill = (looks: FirstLooks, count: number, rowBytes: number) => {
  for (let i = 0; i < count; i += 1) looks.add(certificate(rowBytes));
};

test("10,000 certificates wait, and no more", () => {
  const looks = new FirstLooks(500);
  fill(looks, 10_001, 1_300);
  expect(looks.size).toBe(10_000);
});

test("32 MiB wait: what does not fit waits for its grace, and what is behind it may fit", () => {
  const looks = new FirstLooks(500);
  fill(looks, 31, MiB);
  looks.add(certificate(MiB + 1));
  expect(looks.size).toBe(31);
  looks.add(certificate(MiB));
  looks.add(certificate(1));
  expect(looks.size).toBe(32);
  looks.nextBatch();
  looks.add(certificate(1));
  expect(looks.size).toBe(32 - 8 + 1);
});

test("a batch has as many as fit by number and by 8 MiB, in their order, or one", () => {
  const looks = new FirstLooks(3);
  for (const bytes of [1, 1, 1, 4 * MiB, 4 * MiB, 1, 9 * MiB, 1]) looks.add(certificate(bytes));
  const sizes = () => looks.nextBatch().map(({ rowBytes }) => rowBytes);
  expect([sizes(), sizes(), sizes(), sizes(), sizes(), sizes()]).toEqual([
    [1, 1, 1],
    [4 * MiB, 4 * MiB],
    [1],
    [9 * MiB],
    [1],
    [],
  ]);
});
