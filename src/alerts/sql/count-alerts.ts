import type { Database } from "../../db/pool.ts";

export interface AlertCounts {
  pending: number;
  undelivered: number;
  givenUp: number;
  suspiciousLastHour: number;
}

/** Counts rows for the gauges, so that the gauges survive a restart. Each count reads its own index. */
export async function countAlerts(db: Database, deadlineMs: number): Promise<AlertCounts> {
  const [row] = await db.query<AlertCounts>(
    {
      name: "count alerts",
      text: `
        SELECT
          (SELECT pg_catalog.count(*) FROM public.alerts WHERE severity = 'pending')::int AS pending,
          (SELECT pg_catalog.count(*) FROM public.alerts WHERE next_attempt_at IS NOT NULL AND severity <> 'pending')::int
            AS undelivered,
          (SELECT pg_catalog.count(*) FROM public.alerts WHERE given_up_at IS NOT NULL)::int AS "givenUp",
          (SELECT pg_catalog.count(*) FROM public.alerts WHERE severity = 'suspicious' AND recorded_at > pg_catalog.now() - interval '1 hour')::int
            AS "suspiciousLastHour"`,
    },
    deadlineMs,
  );
  return row!;
}
