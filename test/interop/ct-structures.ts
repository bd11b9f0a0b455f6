import { createHash } from "node:crypto";
import type { LogEntry } from "../../src/demo/log-entry.ts";
import { type CtLogKey, uint, vector } from "../../src/demo/sct.ts";

const sha256 = (...parts: Uint8Array[]): Buffer => createHash("sha256").update(Buffer.concat(parts)).digest();

const isPrecert = ({ kind }: LogEntry): boolean => kind === "PrecertLogEntry";

/** TimestampedEntry (RFC 6962 section 3.4); `extensions` are CtExtensions, empty in an RFC 6962 log. */
function timestampedEntry(entry: LogEntry, extensions: Buffer): Buffer {
  const { preCert, certificateDer, sctTimestampMs } = entry.issuance;
  return Buffer.concat([
    uint(8, sctTimestampMs),
    uint(2, isPrecert(entry) ? 1 : 0),
    isPrecert(entry)
      ? Buffer.concat([preCert.issuerKeyHash, vector(3, preCert.tbsDer)])
      : vector(3, certificateDer),
    vector(2, extensions),
  ]);
}

/** MerkleTreeLeaf (RFC 6962 section 3.4). */
export const merkleTreeLeaf = (entry: LogEntry): Buffer =>
  Buffer.concat([Buffer.from([0, 0]), timestampedEntry(entry, logExtensions(entry))]);

/** The leaf_index extension of a static-ct log (c2sp.org/static-ct-api, "SCT Extension"); none otherwise. */
function logExtensions({ log, index }: LogEntry): Buffer {
  const leafIndex = 0;
  return log.type === "tiled"
    ? Buffer.concat([Buffer.from([leafIndex]), vector(2, uint(5, index))])
    : Buffer.alloc(0);
}

/** The `extra_data` of get-entries: a chain, or PrecertChainEntry (RFC 6962 section 4.6). */
export function extraData(entry: LogEntry): Buffer {
  const chain = vector(3, ...entry.issuance.chain.map(({ der }) => vector(3, der)));
  return isPrecert(entry) ? Buffer.concat([vector(3, entry.issuance.precertificateDer), chain]) : chain;
}

/** TileLeaf of a data tile (c2sp.org/static-ct-api, "Log Entries"). */
export function tileLeaf(entry: LogEntry): Buffer {
  return Buffer.concat([
    timestampedEntry(entry, logExtensions(entry)),
    ...(isPrecert(entry) ? [vector(3, entry.issuance.precertificateDer)] : []),
    vector(2, ...entry.issuance.chain.map(({ der }) => sha256(der))),
  ]);
}

/** Merkle Tree Hash (RFC 6962 section 2.1). */
export function merkleTreeHash(entries: LogEntry[]): Buffer {
  if (entries.length === 0) return sha256();
  if (entries.length === 1) return sha256(Buffer.from([0]), merkleTreeLeaf(entries[0]!));
  let split = 1;
  while (split * 2 < entries.length) split *= 2;
  return sha256(
    Buffer.from([1]),
    merkleTreeHash(entries.slice(0, split)),
    merkleTreeHash(entries.slice(split)),
  );
}

/** The answer of get-sth (RFC 6962 section 4.3). */
export function signedTreeHead(key: CtLogKey, entries: LogEntry[], timestampMs: number) {
  const root = merkleTreeHash(entries);
  return {
    tree_size: entries.length,
    timestamp: timestampMs,
    sha256_root_hash: root.toString("base64"),
    tree_head_signature: treeHeadSignature(key, entries.length, root, timestampMs).toString("base64"),
  };
}

/** A checkpoint with an RFC 6962 note signature (c2sp.org/static-ct-api, "Checkpoints"). */
export function checkpoint(key: CtLogKey, origin: string, entries: LogEntry[], timestampMs: number): string {
  const root = merkleTreeHash(entries);
  const noteType = 0x05;
  const keyId = sha256(Buffer.from(`${origin}\n`), Buffer.from([noteType]), key.logId).subarray(0, 4);
  const signature = treeHeadSignature(key, entries.length, root, timestampMs);
  const signed = Buffer.concat([keyId, uint(8, timestampMs), signature]).toString("base64");
  return `${origin}\n${entries.length}\n${root.toString("base64")}\n\n\u2014 ${origin} ${signed}\n`;
}

/** TreeHeadSignature (RFC 6962 section 3.5). */
function treeHeadSignature(key: CtLogKey, size: number, root: Buffer, timestampMs: number): Buffer {
  const version = 0;
  const treeHash = 1;
  const head = [Buffer.from([version, treeHash]), uint(8, timestampMs), uint(8, size), root];
  return key.digitallySign(Buffer.concat(head));
}
