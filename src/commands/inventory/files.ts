import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import { errorMessage } from "../../db/errors.ts";
import { type CertificateFile, readCertificateFile } from "../../inventory/certificate-file.ts";

/** A file to read. */
export interface FoundFile {
  path: string;
  /** Whether the file was given by name, not found in a folder. A given file has to hold a certificate. */
  isGiven: boolean;
  /** Text that changes when the file changes, or when its symbolic link leads to another file. */
  signature: string;
}

export interface FoundFiles {
  files: FoundFile[];
  /** The folders that were walked, and the folders of files given by name. */
  folders: string[];
  /** A sentence for each path that could not be read. */
  problems: string[];
}

/** The path that stands for standard input. */
export const standardInput = "-";

const maxDepth = 10;
const maxFiles = 100_000;
const maxFileBytes = 4 * 1024 * 1024;
/** The extensions under which a DER file in a folder counts as a certificate. Keys can be DER, too. */
const derExtensions = new Set([".cer", ".crt", ".der"]);
const certificateExtensions = new Set([...derExtensions, ".pem"]);

/**
 * Finds the files under these paths. Follows symbolic links to files, which certbot's `live` and Kubernetes' secrets
 * have. Follows a link to a folder only if the link is one of `paths`, so that there is no loop. Lists a file once,
 * even if the walk reaches it twice.
 */
export async function findFiles(paths: string[]): Promise<FoundFiles> {
  const found: FoundFiles = { files: [], folders: [], problems: [] };
  const seen = new Set<string>();
  for (const path of paths) {
    if (path === standardInput) found.files.push({ path, isGiven: true, signature: "" });
    else await visit(path, 0, found, seen);
  }
  return found;
}

async function visit(path: string, depth: number, found: FoundFiles, seen: Set<string>): Promise<void> {
  const isGiven = depth === 0;
  try {
    const { dev, ino, size, mtimeNs, ctimeNs, ...kind } = await statOf(path);
    const identity = `${dev}:${ino}`;
    if (seen.has(identity)) return;
    if (kind.isFolder) {
      seen.add(identity);
      found.folders.push(path);
      if (depth > maxDepth)
        found.problems.push(`${path}: more than ${maxDepth} folders deep: certwatch does not look into it`);
      else await visitFolder(path, depth, found, seen);
    } else if (!isGiven && size > maxFileBytes) {
      const isCertificate = certificateExtensions.has(extname(path).toLowerCase());
      if (isCertificate) found.problems.push(`${path}: larger than ${maxFileBytes} bytes`);
    } else if (kind.isFile || isGiven) {
      // A given path may also be a pipe, as in `<(command)`.
      if (kind.isFile) seen.add(identity);
      if (found.files.length >= maxFiles) throw new Error(`not read: there are more than ${maxFiles} files`);
      found.files.push({ path, isGiven, signature: [identity, size, mtimeNs, ctimeNs].join(":") });
      if (isGiven) found.folders.push(dirname(path));
    }
  } catch (error) {
    const isGone = (error as NodeJS.ErrnoException).code === "ENOENT";
    // The file was renamed or replaced while its folder was read. The next look finds the new file.
    if (isGone && !isGiven) return;
    found.problems.push(`${path}: ${isGone ? "no such file or folder" : errorMessage(error)}`);
  }
}

async function visitFolder(path: string, depth: number, found: FoundFiles, seen: Set<string>): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true });
  entries.sort((one, other) => (one.name < other.name ? -1 : 1));
  // Files and links come before folders: if a link leads to a file further down, the file gets the name of the link.
  const files = entries.filter((entry) => entry.isFile());
  const links = entries.filter((entry) => entry.isSymbolicLink());
  for (const { name } of [...files, ...links]) {
    const child = join(path, name);
    if (links.some((link) => link.name === name) && (await isFolder(child))) continue;
    await visit(child, depth + 1, found, seen);
  }
  for (const entry of entries) {
    if (entry.isDirectory()) await visit(join(path, entry.name), depth + 1, found, seen);
  }
}

async function statOf(path: string) {
  const stats = await stat(path, { bigint: true });
  const { dev, ino, size, mtimeNs, ctimeNs } = stats;
  return { dev, ino, size, mtimeNs, ctimeNs, isFolder: stats.isDirectory(), isFile: stats.isFile() };
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null))?.isDirectory() ?? false;
}

/** Reads a file. If the file is bad, `problems` in the result says why. Never rejects. */
export async function readFound({ path, isGiven }: FoundFile): Promise<CertificateFile> {
  try {
    const bytes = await readBytes(path);
    const file = readCertificateFile(bytes);
    const isPem = bytes.includes("-----BEGIN ");
    if (isGiven) {
      // A PEM file may hold a key alone: `live/example.org/*.pem` includes the key of the certificate.
      if (!isPem && isEmpty(file)) file.problems.push("holds no certificate (PEM or DER)");
    } else if (!isPem && !derExtensions.has(extname(path).toLowerCase())) {
      file.problems = [];
    }
    return file;
  } catch (error) {
    return { certificates: [], skipped: [], problems: [errorMessage(error)] };
  }
}

function isEmpty({ certificates, skipped, problems }: CertificateFile): boolean {
  return certificates.length + skipped.length + problems.length === 0;
}

async function readBytes(path: string): Promise<Buffer> {
  const stream = path === standardInput ? process.stdin : createReadStream(path);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    length += (chunk as Buffer).length;
    if (length > maxFileBytes) throw new Error(`larger than ${maxFileBytes} bytes`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}
