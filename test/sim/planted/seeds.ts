/** The first seed that finds a planted bug, where it is not 0 (PLANTED_REPORT=1). It saves time, and nothing else. */
export const SEEDS: Readonly<Record<string, number>> = {};
