/** What several runs of one thing come to. */

/** Median (of the middle two, the mean), least and greatest; null without numbers. */
export function spread(numbers) {
  const known = numbers.filter((number) => Number.isFinite(number)).sort((a, b) => a - b);
  if (known.length === 0) return null;
  return { median: median(known), min: known[0], max: known[known.length - 1] };
}

function median(sorted) {
  const half = sorted.length / 2;
  if (sorted.length % 2 === 1) return sorted[Math.floor(half)];
  return (sorted[half - 1] + sorted[half]) / 2;
}
