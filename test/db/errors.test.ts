import pg from "pg";
import { describe, expect, test } from "vitest";
import {
  ConnectionError,
  DeadlineError,
  type ErrorKind,
  errorKind,
  errorMessage,
  kindBySqlState,
  NoHostError,
  sqlState,
} from "../../src/db/errors.ts";

function serverError(code: string, message = "something went wrong"): pg.DatabaseError {
  return Object.assign(new pg.DatabaseError(message, message.length, "error"), { code });
}

function socketError(code: string): Error {
  return Object.assign(new Error(`connect ${code} 127.0.0.1:5432`), { code });
}

describe("errorKind", () => {
  test.each(Object.entries(kindBySqlState))("follows its table: %s is %s", (state, kind) => {
    expect(errorKind(serverError(state.padEnd(5, "0")))).toBe(kind);
  });

  test.each<[string, ErrorKind]>([
    ["08006", "retryable"], // connection_failure
    ["08P01", "fatal"], // protocol_violation
    ["53100", "retryable"], // disk_full
    ["53300", "retryable"], // too_many_connections
    ["40001", "retryable"], // serialization_failure
    ["40P01", "retryable"], // deadlock_detected
    ["57P01", "retryable"], // admin_shutdown
    ["57P04", "fatal"], // database_dropped
    ["25006", "retryable"], // read_only_sql_transaction
    ["25P02", "fatal"], // in_failed_sql_transaction
    ["22P05", "bad-data"], // untranslatable_character
    ["22003", "bad-data"], // numeric_value_out_of_range
    ["23505", "fatal"], // unique_violation
    ["23514", "fatal"], // check_violation
    ["2200H", "fatal"], // sequence_generator_limit_exceeded
    ["28P01", "fatal"], // invalid_password
    ["28000", "fatal"], // no pg_hba.conf entry
    ["3D000", "fatal"], // no such database
    ["3F000", "fatal"], // no such schema
    ["42P01", "fatal"], // undefined_table
    ["42703", "fatal"], // undefined_column
    ["42501", "fatal"], // insufficient_privilege
    ["XX000", "retryable"], // internal_error
    ["XX001", "fatal"], // data_corrupted
    ["99999", "fatal"], // unheard of
  ])("takes SQLSTATE %s as %s", (state, kind) => {
    expect(errorKind(serverError(state))).toBe(kind);
  });

  test.each<[unknown, ErrorKind]>([
    [socketError("ECONNREFUSED"), "retryable"],
    [socketError("ENOENT"), "retryable"],
    [socketError("EAI_AGAIN"), "retryable"],
    [socketError("EACCES"), "fatal"],
    [socketError("DEPTH_ZERO_SELF_SIGNED_CERT"), "fatal"],
    [new DeadlineError("too late"), "retryable"],
    [new ConnectionError("terminated"), "retryable"],
    [new NoHostError("none", [serverError("28P01"), socketError("ECONNREFUSED")]), "retryable"],
    [new NoHostError("none", [serverError("28P01"), serverError("3D000")]), "fatal"],
    [new TypeError("a bug"), "fatal"],
    [undefined, "fatal"],
  ])("takes %s as %s", (error, kind) => {
    expect(errorKind(error)).toBe(kind);
  });

  test("does not take a code for a SQLSTATE that no server gave", () => {
    expect(sqlState(Object.assign(new Error("x"), { code: "22000" }))).toBeUndefined();
  });
});

describe("errorMessage", () => {
  test("is one line with the code, without the values of the row", () => {
    const error = Object.assign(serverError("23505", "duplicate key\nvalue"), {
      detail: "Key (a)=(s3cret) exists.",
    });
    expect(errorMessage(error)).toBe("duplicate key value (23505)");
  });

  test("does not repeat a code", () => {
    expect(errorMessage(socketError("ECONNREFUSED"))).toBe("connect ECONNREFUSED 127.0.0.1:5432");
  });

  test("names every address of a host that has several", () => {
    const error = new AggregateError([socketError("ECONNREFUSED"), socketError("ETIMEDOUT")]);
    expect(errorMessage(error)).toBe("connect ECONNREFUSED 127.0.0.1:5432; connect ETIMEDOUT 127.0.0.1:5432");
  });

  test("is bounded", () => {
    expect(errorMessage(new Error("x".repeat(10_000)))).toHaveLength(500);
  });
});
