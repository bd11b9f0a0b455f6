/** The values of `sslmode` (PostgreSQL documentation, "SSL Mode Descriptions"). */
const sslModes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
type SslMode = (typeof sslModes)[number];

const sessionAttrs = ["any", "read-write", "primary"] as const;
type TargetSessionAttrs = (typeof sessionAttrs)[number];

/** One host of a DSN. `host` is a name, an address, or the folder of a Unix socket; the folder begins with `/`. */
export interface HostPort {
  host: string;
  port: number;
}

/** Whether this host is the folder of a Unix socket. */
export const isSocketFolder = (host: string): boolean => host.startsWith("/");

/** The path of the Unix socket that Postgres makes in a folder. */
export const unixSocketPath = (folder: string, port: number): string => `${folder}/.s.PGSQL.${port}`;

/** How messages name a host: `db1.example.org:5432`, or the path of its Unix socket. */
export function hostLabel({ host, port }: HostPort): string {
  if (isSocketFolder(host)) return unixSocketPath(host, port);
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** The parts of a Postgres connection URI. */
export interface Dsn {
  /** The hosts in the order in which they are tried; at least one. */
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
  /** The time limit for connecting to one host; undefined: the hosts share the deadline of the statement. */
  connectTimeoutSeconds: number | undefined;
  applicationName: string | undefined;
  /** Command-line options for the server, such as `-c search_path=x`. */
  options: string | undefined;
  /** One sentence for each parameter that certwatch does not use. */
  warnings: string[];
}

/**
 * Says why a DSN cannot be used. The message continues a sentence that begins with the name of the variable. The
 * message never contains the password.
 */
export class DsnError extends Error {
  override readonly name = "DsnError";
}

const expectedForm = "postgres://user:password@host:5432/database";
const encodeHint = "percent-encode special characters of user and password, '/' as %2F, '@' as %40";
/** Splits a DSN into user information, hosts, path and query. `#` has no meaning in libpq's URIs. */
const dsnPieces = /^postgres(?:ql)?:\/\/(?:([^/?]*)@)?([^/?@]*)(?:\/([^?]*))?(?:\?(.*))?$/s;

/**
 * Reads `postgres://` and `postgresql://` URIs as libpq does (PostgreSQL documentation, "Connection URIs"), with
 * several hosts and with Unix sockets. A missing user or password is taken from the environment variables, as in `pg`.
 *
 * @throws DsnError
 */
export function parseDsn(text: string, env: NodeJS.ProcessEnv = process.env): Dsn {
  if (!/^postgres(ql)?:\/\//.test(text)) throw new DsnError(`is not of the form ${expectedForm}`);
  const pieces = dsnPieces.exec(text);
  // After an unencoded `/` or `?` in a password, path and query hold the rest of the password: repeat nothing of them.
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

/** Returns the DSN for logging: with user, hosts, database and parameters; secrets become `***`. */
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

/** Reads `h1:5432,h2`, or the parameters `host=h1,h2` and `port=5432,5433`. A single port counts for all hosts. */
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
  // This text may be a piece of a password that was not encoded: do not repeat it.
  if (port < 1 || port > 65535)
    throw new DsnError(`has a port that is not a number from 1 to 65535 (${encodeHint})`);
  return port;
}

function sslMode(mode: string | undefined, ssl: string | undefined, rootCert: string | undefined): SslMode {
  const system = rootCert === "system";
  // libpq also accepts JDBC's spelling `ssl=true`. With `sslrootcert=system` the default is `verify-full` (libpq 16).
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
