/** What a broker's /metrics say. */
export const httpOf = (url: string): string => url.replace("ws:", "http:");

/** The value of a metric, by its name with labels; 0 when it was never counted. */
export async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${httpOf(url)}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(`${name} `));
  return Number(line?.slice(name.length + 1) ?? 0);
}

/** Of these, by their names without `escrowmq_`. `written kind`: the records of this kind. */
export async function metricsOf<Name extends string>(
  url: string,
  expected: Readonly<Record<Name, unknown>>,
): Promise<Record<Name, number>> {
  const values: Record<string, number> = {};
  for (const name of Object.keys(expected)) {
    const kind = name.startsWith("written ") ? name.slice("written ".length) : null;
    values[name] = await metric(
      url,
      `escrowmq_${kind === null ? name : `records_total{kind="${kind}"}`}`,
    );
  }
  return values as Record<Name, number>;
}
