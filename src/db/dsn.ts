/** libpq's sslmode (PostgreSQL documentation, 32.19.3). */
const sslModes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
type SslMode = (typeof sslModes)[number];

const sessionAttrs = ["any", "read-write", "primary"] as const;
type TargetSessionAttrs = (typeof sessionAttrs)[number];

/** `host` is a name, an address, or (starting with `/`) the folder of a Unix socket. */
export interface HostPort {
  host: string;
  port: number;
}

/** Whether a host is the folder of a Unix socket. */
export const isSocketFolder = (host: string): boolean => host.startsWith("/");

/** Where Postgres has its Unix socket in a folder. */
export const unixSocketPath = (folder: string, port: number): string => `${folder}/.s.PGSQL.${port}`;

/** A host as messages name it. */
export function hostLabel({ host, port }: HostPort): string {
  if (isSocketFolder(host)) return unixSocketPath(host, port);
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** A Postgres connection URI, taken apart. */
export interface Dsn {
  /** At least one, in the order in which they are tried. */
  hosts: HostPort[];
  user: string | undefined;
  password: string | undefined;
  database: string | undefined;
  sslMode: SslMode;
  /** Path of a PEM file, or `system` for the certificate authorities that Node.js trusts. */
  sslRootCert: string | undefined;
  sslCert: string | undefined;
  sslKey: string | undefined;
  targetSessionAttrs: TargetSessionAttrs;
  /** Per host; undefined: the query's own deadline, shared out among the hosts. */
  connectTimeoutSeconds: number | undefined;
  applicationName: string | undefined;
  /** Command-line options for the server, as in `-c search_path=x`. */
  options: string | undefined;
  /** One sentence for each parameter that was passed over. */
  warnings: string[];
}

/** A DSN that cannot be used. The message goes on after the name of the variable, and never holds the password. */
export class DsnError extends Error {
  override readonly name = "DsnError";
}

const expectedForm = "postgres://user:password@host:5432/database";
const encodeHint = "percent-encode special characters of user and password, '/' as %2F, '@' as %40";
/** Pieces of a DSN as text: user information, hosts, path, query. `#` has no meaning in libpq's URIs. */
const dsnPieces = /^postgres(?:ql)?:\/\/(?:([^/?]*)@)?([^/?@]*)(?:\/([^?]*))?(?:\?(.*))?$/s;

/**
 * Parses `postgres://` and `postgresql://` URIs as libpq does (PostgreSQL documentation, 32.1.1.2), several
 * hosts and Unix sockets included. User and password fall back to the environment, as `pg` has it.
 * @throws DsnError
 */
export function parseDsn(text: string, env: NodeJS.ProcessEnv = process.env): Dsn {
  if (!/^postgres(ql)?:\/\//.test(text)) throw new DsnError(`is not of the form ${expectedForm}`);
  const pieces = dsnPieces.exec(text);
  // An unencoded `/` or `?` in a password puts the rest of it where path and query are: echo nothing.
  if (pieces === null || pieces[3]?.includes("@")) throw new DsnError(`cannot be taken apart: ${encodeHint}`);
  const [, userInfo = "", authority = "", path = "", query = ""] = pieces;
  const parameters = parseQuery(query);
  const take = (name: string): string | undefined => {
    const value = parameters.get(name);
    parameters.delete(name);
    return value === "" ? undefined : value;
  };

  const [userText = "", ...passwordParts] = userInfo.split(":");
  const dsn: Dsn = {
    hosts: parseHosts(authority, take("host"), take("port")),
    user: take("user") ?? (decode(userText) || env.PGUSER || env.USER || undefined),
    password: take("password") ?? (decode(passwordParts.join(":")) || env.PGPASSWORD || undefined),
    database: take("dbname") ?? (decode(path) || undefined),
    sslMode: sslMode(take("sslmode"), take("ssl"), parameters.get("sslrootcert")),
    sslRootCert: take("sslrootcert"),
    sslCert: take("sslcert"),
    sslKey: take("sslkey"),
    targetSessionAttrs: oneOf("target_session_attrs", take("target_session_attrs") ?? "any", sessionAttrs),
    connectTimeoutSeconds: connectTimeout(take("connect_timeout")),
    applicationName: take("application_name") ?? take("fallback_application_name"),
    options: take("options"),
    warnings: [],
  };
  dsn.warnings = [...parameters.keys()].map((name) => `the parameter ${JSON.stringify(name)} is not used`);
  return dsn;
}

/** A DSN as it may be logged: user, hosts, database and parameters, but nothing secret. */
export function maskDsn(text: string): string {
  try {
    parseDsn(text);
  } catch {
    return "(unreadable DSN)";
  }
  const [, userInfo, authority = "", path, query] = dsnPieces.exec(text) ?? [];
  const user = userInfo?.includes(":") ? `${userInfo.slice(0, userInfo.indexOf(":"))}:***` : userInfo;
  const parameters = query?.split("&").map((one) => {
    const name = one.split("=", 1)[0] ?? "";
    return /pass|secret|token/i.test(decode(name)) ? `${name}=***` : one;
  });
  return [
    `postgres://${user ? `${user}@` : ""}${authority}`,
    path ? `/${path}` : "",
    parameters?.length ? `?${parameters.join("&")}` : "",
  ].join("");
}

function parseQuery(query: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const one of query.split("&").filter((part) => part !== "")) {
    const equals = one.indexOf("=");
    if (equals < 0) throw new DsnError("has a parameter without '='");
    parameters.set(decode(one.slice(0, equals)), decode(one.slice(equals + 1)));
  }
  return parameters;
}

/** `h1:5432,h2` or the parameters `host=h1,h2` and `port=5432,5433` (one port serves all hosts). */
function parseHosts(
  authority: string,
  hostList: string | undefined,
  portList: string | undefined,
): HostPort[] {
  const entries = (hostList?.split(",") ?? authority.split(",")).map((entry) =>
    hostList === undefined ? splitHostPort(entry) : { host: entry, port: undefined },
  );
  const ports = portList?.split(",") ?? [];
  if (ports.length > 1 && ports.length !== entries.length) {
    throw new DsnError(`names ${entries.length} hosts but ${ports.length} ports`);
  }
  return entries.map(({ host, port }, index) => ({
    host: host || "localhost",
    port: parsePort(port ?? ports[ports.length === 1 ? 0 : index]),
  }));
}

function splitHostPort(entry: string): { host: string; port: string | undefined } {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]*))(?::(.*))?$/s.exec(entry);
  if (match === null)
    throw new DsnError(`has a host that cannot be read: IPv6 addresses go in [], ${encodeHint}`);
  return { host: match[1] ?? decode(match[2] ?? ""), port: match[3] };
}

function parsePort(text: string | undefined): number {
  if (text === undefined || text === "") return 5432;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  // What stands in the port's place may be a piece of an unencoded password: it is not echoed.
  if (port < 1 || port > 65535)
    throw new DsnError(`has a port that is not a number from 1 to 65535 (${encodeHint})`);
  return port;
}

function sslMode(mode: string | undefined, ssl: string | undefined, rootCert: string | undefined): SslMode {
  const system = rootCert === "system";
  // `ssl=true` is JDBC's spelling, which libpq takes too; `system` raises the default (libpq 16).
  const value = oneOf(
    "sslmode",
    mode ?? (ssl === "true" ? "require" : system ? "verify-full" : "prefer"),
    sslModes,
  );
  if (system && value !== "verify-full")
    throw new DsnError("has sslrootcert=system, which needs sslmode=verify-full");
  return value;
}

function connectTimeout(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^-?\d{1,9}$/.test(text))
    throw new DsnError("has a connect_timeout that is not a whole number of seconds");
  return Number(text) > 0 ? Number(text) : undefined;
}

function oneOf<T extends string>(name: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value);
  if (found === undefined) {
    throw new DsnError(
      `has ${name}=${JSON.stringify(value.slice(0, 40))}; allowed are ${allowed.join(", ")}`,
    );
  }
  return found;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new DsnError("has a '%' that is not followed by two hexadecimal digits");
  }
}
