import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { type Dsn, DsnError, type HostPort, hostLabel, isSocketFolder } from "./dsn.ts";
import {
  ConnectionError,
  DeadlineError,
  errorMessage,
  failedAt,
  failedStatement,
  NoHostError,
  sqlState,
} from "./errors.ts";
import { type Limits, openSession, type Session, type Tls } from "./session.ts";

/** Opens sessions. Tries the hosts in the order of the DSN, beginning with the host that worked last. */
export interface Connector {
  /**
   * @param signal aborting this signal gives up connecting.
   * @throws DeadlineError, ConnectionError, or the server's own error (`DatabaseError`)
   */
  connect(deadlineMs: number, signal: AbortSignal): Promise<Session>;
}

/**
 * Reads the certificate files that the DSN names, once. Opens no connection yet.
 *
 * @throws DsnError if a certificate file is missing or unreadable
 */
export function createConnector(dsn: Dsn): Connector {
  const attempts = tlsAttempts(dsn);
  let lastGood = 0;
  return {
    async connect(deadlineMs, signal) {
      const until = performance.now() + deadlineMs;
      const errors: unknown[] = [];
      const tried: HostPort[] = [];
      for (let offset = 0; offset < dsn.hosts.length; offset++) {
        const index = (lastGood + offset) % dsn.hosts.length;
        const host = dsn.hosts[index]!;
        const remainingMs = until - performance.now();
        // A host that never answers uses up only its share of the time, so the next hosts are still tried.
        const shareMs = remainingMs / (dsn.hosts.length - offset);
        const limitMs = Math.min((dsn.connectTimeoutSeconds ?? Number.POSITIVE_INFINITY) * 1000, shareMs);
        try {
          const session = await connectHost(dsn, host, attempts, { limitMs, signal });
          lastGood = index;
          return session;
        } catch (error) {
          errors.push(error);
          tried.push(host);
        }
      }
      if (errors.length === 1) throw errors[0];
      const each = errors.map((error, index) => `${hostLabel(tried[index]!)}: ${errorMessage(error)}`);
      const error = new NoHostError(`none of ${errors.length} hosts can be used: ${each.join("; ")}`, errors);
      const failed = errors.map(failedStatement).find((statement) => statement !== undefined);
      throw failed === undefined ? error : failedAt(failed, error);
    },
  };
}

/** The TLS settings to try on one host, in this order (PostgreSQL documentation, "SSL Mode Descriptions"). */
function tlsAttempts(dsn: Dsn): Tls[] {
  if (dsn.sslMode === "disable") return [false];
  const identity = {
    ...(dsn.sslCert ? { cert: readPem("sslcert", dsn.sslCert) } : {}),
    ...(dsn.sslKey ? { key: readPem("sslkey", dsn.sslKey) } : {}),
  };
  const unverified: Tls = { ...identity, rejectUnauthorized: false };
  if (dsn.sslMode === "prefer") return [unverified, false];
  if (dsn.sslMode === "allow") return [false, unverified];

  const ca = rootCa(dsn);
  if (dsn.sslMode === "require" && ca === undefined) return [unverified];
  if (ca === undefined) {
    throw new DsnError(
      `has sslmode=${dsn.sslMode} but no sslrootcert (a file with the CA's certificate, or system)`,
    );
  }
  const verified: Tls = { ...identity, ca, rejectUnauthorized: true };
  // With a root certificate, `require` means `verify-ca`. libpq does the same.
  return [dsn.sslMode === "verify-full" ? verified : { ...verified, checkServerIdentity: () => undefined }];
}

function rootCa(dsn: Dsn): string | string[] | undefined {
  if (dsn.sslRootCert === "system") return [...rootCertificates];
  const defaultFile = join(homedir(), ".postgresql", "root.crt");
  if (dsn.sslRootCert === undefined && !existsSync(defaultFile)) return undefined;
  return readPem("sslrootcert", dsn.sslRootCert ?? defaultFile);
}

function readPem(parameter: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new DsnError(`names a file in ${parameter} that cannot be read: ${errorMessage(error)}`);
  }
}

async function connectHost(
  dsn: Dsn,
  host: HostPort,
  attempts: Tls[],
  { limitMs, signal }: Limits,
): Promise<Session> {
  const until = performance.now() + limitMs;
  const usable: Tls[] = isSocketFolder(host.host) ? [false] : attempts;
  for (const [index, tls] of usable.entries()) {
    try {
      return await openSession(dsn, host, tls, { limitMs: until - performance.now(), signal });
    } catch (error) {
      if (index === usable.length - 1 || !worthOtherTls(error, tls)) throw error;
    }
  }
  throw new ConnectionError("no way to connect is allowed");
}

/**
 * Whether to try the other TLS setting of `prefer` or `allow` after this error. True if the server has no TLS, if the
 * handshake failed, or if pg_hba.conf has no line for this kind of connection (28000). False if the host does not
 * answer.
 */
function worthOtherTls(error: unknown, tls: Tls): boolean {
  if (sqlState(error) !== undefined) return sqlState(error) === "28000";
  if (error instanceof DeadlineError || tls === false) return false;
  const code = (error as { code?: unknown }).code;
  return (
    !(typeof code === "string" && /^(E[A-Z]+|EAI_[A-Z]+)$/.test(code)) ||
    code === "EPROTO" ||
    code === "ECONNRESET"
  );
}
