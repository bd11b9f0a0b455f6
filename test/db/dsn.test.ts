import { describe, expect, test } from "vitest";
import { DsnError, maskDsn, parseDsn } from "../../src/db/dsn.ts";

const parse = (text: string, env: NodeJS.ProcessEnv = {}) => parseDsn(text, env);

describe("parseDsn", () => {
  test("takes a plain URI apart", () => {
    expect(parse("postgres://me:p%40ss@db.example.org:6543/watch")).toEqual({
      hosts: [{ host: "db.example.org", port: 6543 }],
      user: "me",
      password: "p@ss",
      database: "watch",
      sslMode: "prefer",
      sslRootCert: undefined,
      sslCert: undefined,
      sslKey: undefined,
      targetSessionAttrs: "any",
      connectTimeoutSeconds: undefined,
      applicationName: undefined,
      options: undefined,
      warnings: [],
    });
  });

  test.each([
    ["postgresql://h1:5432,h2:5433,h3/db", ["h1:5432", "h2:5433", "h3:5432"]],
    ["postgres://[2001:db8::1]:5433,[::1]/db", ["2001:db8::1:5433", "::1:5432"]],
    ["postgres://%2Fvar%2Frun%2Fpostgresql/db", ["/var/run/postgresql:5432"]],
    ["postgres://%2Fsock:6000/db", ["/sock:6000"]],
    ["postgres:///db?host=/sock&port=6000", ["/sock:6000"]],
    ["postgres://me@/db?host=%2Fsock", ["/sock:5432"]],
    ["postgres:///db?host=h1,h2&port=6000", ["h1:6000", "h2:6000"]],
    ["postgres://h1,h2/db?port=1,2", ["h1:1", "h2:2"]],
    ["postgres:///db", ["localhost:5432"]],
    ["postgres://", ["localhost:5432"]],
  ])("finds the hosts of %s", (text, hosts) => {
    expect(parse(text).hosts.map(({ host, port }) => `${host}:${port}`)).toEqual(hosts);
  });

  test("takes user, password and database from parameters, which win", () => {
    const dsn = parse(
      "postgres://a:b@h/c?user=u&password=p%26q&dbname=d&application_name=n&options=-c%20x%3D1",
    );
    expect(dsn).toMatchObject({
      user: "u",
      password: "p&q",
      database: "d",
      applicationName: "n",
      options: "-c x=1",
    });
  });

  test("takes user and password from the environment where the DSN has none", () => {
    const env = { PGUSER: "env-user", PGPASSWORD: "env-password", PGHOST: "env-host", PGSSLMODE: "require" };
    expect(parse("postgres://h/db", env)).toMatchObject({
      user: "env-user",
      password: "env-password",
      sslMode: "prefer",
    });
    expect(parse("postgres://u:p@h/db", env)).toMatchObject({ user: "u", password: "p" });
  });

  test("takes an unencoded @ in a password, as URIs of other programs have it", () => {
    expect(parse("postgres://me:a@b@h/db")).toMatchObject({
      password: "a@b",
      hosts: [{ host: "h", port: 5432 }],
    });
  });

  test.each(["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])(
    "takes sslmode=%s",
    (mode) => {
      expect(parse(`postgres://h/db?sslmode=${mode}`).sslMode).toBe(mode);
    },
  );

  test("takes ssl=true as require, and sslrootcert=system as verify-full", () => {
    expect(parse("postgres://h/db?ssl=true").sslMode).toBe("require");
    expect(parse("postgres://h/db?sslrootcert=system")).toMatchObject({
      sslMode: "verify-full",
      sslRootCert: "system",
    });
  });

  test("passes over what it does not know, with a warning for each", () => {
    const dsn = parse("postgres://h/db?channel_binding=require&foo=bar&connect_timeout=7");
    expect(dsn.warnings).toEqual([
      'the parameter "channel_binding" is not used',
      'the parameter "foo" is not used',
    ]);
    expect(dsn.connectTimeoutSeconds).toBe(7);
  });

  test.each(["any", "read-write", "primary"])("takes target_session_attrs=%s", (attrs) => {
    expect(parse(`postgres://h/db?target_session_attrs=${attrs}`).targetSessionAttrs).toBe(attrs);
  });

  test.each(["read-only", "standby", "prefer-standby"])(
    "refuses target_session_attrs=%s by name",
    (attrs) => {
      expect(() => parse(`postgres://h/db?target_session_attrs=${attrs}`)).toThrow(
        `has target_session_attrs="${attrs}"; allowed are any, read-write, primary`,
      );
    },
  );
});

describe("a DSN that cannot be used", () => {
  const secret = "s3cret";
  test.each([
    `mysql://me:${secret}@h/db`,
    `host=h password=${secret}`,
    `postgres://me:${secret}@h:99999/db`,
    `postgres://me:${secret}@h:port/db`,
    `postgres://me:${secret}@[::1/db`,
    `postgres://me:${secret}%@h/db`,
    `postgres://me:${secret}/x@h/db`,
    `postgres://me:${secret}?x@h/db`,
    `postgres://me:1${secret}/x`,
    `postgres://me:${secret}@h/db?sslmode=bogus`,
    `postgres://me:${secret}@h/db?sslmode`,
    `postgres://me:${secret}@h/db?connect_timeout=soon`,
    `postgres://me:${secret}@h1,h2,h3/db?port=1,2`,
    `postgres://me:${secret}@h/db?sslrootcert=system&sslmode=require`,
  ])("is refused in a sentence that does not hold the password: %s", (text) => {
    let error: unknown;
    try {
      parse(text);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(DsnError);
    expect((error as Error).message).not.toContain(secret);
    expect(maskDsn(text)).toBe("(unreadable DSN)");
  });
});

describe("maskDsn", () => {
  test.each([
    ["postgresql://me:s3cret@h1:1,h2/db", "postgres://me:***@h1:1,h2/db"],
    ["postgres://me@h/db?sslmode=require", "postgres://me@h/db?sslmode=require"],
    [
      "postgres://h/db?password=s3cret&user=u&sslpassword=x",
      "postgres://h/db?password=***&user=u&sslpassword=***",
    ],
    ["postgres://h/db?p%61ssword=s3cret", "postgres://h/db?p%61ssword=***"],
    ["postgres://me:a@s3cret@h/db", "postgres://me:***@h/db"],
  ])("masks %s", (text, masked) => {
    expect(maskDsn(text)).toBe(masked);
  });
});
