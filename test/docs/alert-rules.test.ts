import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeIfAvailable, missing } from "../support/skip.ts";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const rules = /```yaml\n(groups:\n.*?)```/s.exec(readme)![1]!;

/** Series, a value for each minute, that have to make the alert fire within 40 minutes; from 10 on where all was well. */
const trouble: Record<string, Record<string, string>> = {
  CertwatchDown: { 'up{job="certwatch"}': "0x60" },
  CertwatchFeedSilent: { certwatch_last_ct_event_timestamp_seconds: "0x60" },
  CertwatchLogSilent: { certwatch_ct_logs_silent: "3x60", certwatch_ct_logs_heard: "10x60" },
  CertwatchLogsSilent: { certwatch_ct_logs_silent: "3x60", certwatch_ct_logs_heard: "9x60" },
  CertwatchNotDelivering: {
    certwatch_alerts_undelivered: "3x60",
    'certwatch_webhook_total{result="success"}': "7x60",
    'certwatch_webhook_total{result="failure"}': "0+1x60",
  },
  CertwatchGivenUp: { certwatch_alerts_given_up_total: "0x10 1x50" },
  CertwatchDropped: { certwatch_alerts_dropped_total: "0x10 1x50" },
  CertwatchDatabase: {
    certwatch_alerts_waiting: "5x60",
    'certwatch_database_errors_total{kind="retryable"}': "0+1x60",
    'certwatch_database_errors_total{kind="fatal"}': "0x60",
  },
  CertwatchWatchListEmpty: { certwatch_watch_entries: "0x60" },
  CertwatchWatchListStale: { certwatch_watch_refresh_timestamp_seconds: "0x60" },
  CertwatchInventoryLate: { certwatch_alerts_suspicious_last_hour: "9x60" },
};
/** And none of them does where all is well. */
const allIsWell: Record<string, string> = {
  'up{job="certwatch"}': "1x60",
  certwatch_last_ct_event_timestamp_seconds: "0+60x60",
  certwatch_ct_logs_silent: "0x60",
  certwatch_ct_logs_heard: "1x60",
  certwatch_alerts_undelivered: "3x60",
  'certwatch_webhook_total{result="success"}': "0+1x60",
  'certwatch_webhook_total{result="failure"}': "0+1x60",
  certwatch_alerts_given_up_total: "2x60",
  certwatch_alerts_dropped_total: "2x60",
  certwatch_alerts_waiting: "5x60",
  'certwatch_database_errors_total{kind="retryable"}': "4x60",
  certwatch_watch_entries: "12x60",
  certwatch_watch_refresh_timestamp_seconds: "0+60x60",
  certwatch_alerts_suspicious_last_hour: "2x60",
};

describeIfAvailable("the alert rules in the README", missing("promtool"), () => {
  const folder = mkdtempSync(join(tmpdir(), "certwatch-rules-"));
  const rulesFile = join(folder, "rules.yml");
  beforeAll(() => writeFileSync(rulesFile, rules));
  afterAll(() => rmSync(folder, { recursive: true }));

  const promtool = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync("promtool", args, { encoding: "utf8" });
    return { status, output: stdout + stderr };
  };

  /** Which of the alerts fire after 40 minutes. */
  function firing(series: Record<string, string>): string[] {
    const names = Object.keys(trouble);
    const fires = (alert: string) => {
      const alerts = [{ eval_time: "40m", alertname: alert, exp_alerts: [] }];
      const input = Object.entries(series).map(([name, values]) => ({ series: name, values }));
      const tests = [{ interval: "1m", input_series: input, alert_rule_test: alerts }];
      const file = join(folder, "test.yml");
      writeFileSync(file, JSON.stringify({ rule_files: [rulesFile], evaluation_interval: "1m", tests }));
      const { status, output } = promtool("test", "rules", file);
      if (status !== 0 && !output.includes(`alertname: ${alert}`)) throw new Error(output);
      return status !== 0;
    };
    return names.filter(fires);
  }

  test("are understood by Prometheus, and all of them are tried here", () => {
    expect(promtool("check", "rules", rulesFile)).toMatchObject({ status: 0 });
    const alerts = [...rules.matchAll(/- alert: (\w+)/g)].map(([, name]) => name);
    expect(Object.keys(trouble)).toEqual(alerts);
  });

  test.each(Object.entries(trouble))("%s fires, and no other does", (alert, series) => {
    expect(firing({ ...allIsWell, ...series })).toEqual([alert]);
  });

  test("none fires where all is well", () => {
    expect(firing(allIsWell)).toEqual([]);
  });
});
