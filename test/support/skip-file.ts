/** Names the file in which the workers of a run write what they skipped; `global-setup.ts` makes and prints it. */
export const SKIPPED_FILE_VARIABLE = "CERTWATCH_TEST_SKIPPED_FILE";
