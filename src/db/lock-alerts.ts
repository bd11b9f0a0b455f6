/**
 * The part of a statement that locks the rows of `alerts` with these ids, in the order of their ids, and gives the ids
 * when it has them all. Whatever changes several rows goes through it, or passes over what is locked (`SKIP LOCKED`):
 * two statements then wait for one another, but never each for the other, which the server would end as a deadlock.
 *
 * @param ids a query for the ids
 */
export const lockAlerts = (ids: string): string => `
  SELECT unnest(array_agg(id)) AS id
  FROM (SELECT id FROM public.alerts WHERE id = ANY (ARRAY(${ids})) ORDER BY id FOR UPDATE) AS one_by_one`;
