/** Numbers, sizes, spans and times as people read them. Pure. */

const NARROW_SPACE = "\u202f";

/** 1234567 as "1 234 567", with narrow spaces that do not break. */
export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, NARROW_SPACE);
}

/** "1 message", "2 messages". */
export const plural = (value: number, one: string, many = `${one}s`): string =>
  `${count(value)} ${value === 1 ? one : many}`;

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

export function size(bytes: number): string {
  let value = bytes;
  let at = 0;
  while (value >= 1_024 && at < UNITS.length - 1) {
    value /= 1_024;
    at++;
  }
  const unit = UNITS[at] ?? "B";
  return at === 0 || value >= 100
    ? `${count(Math.round(value))} ${unit}`
    : `${value.toFixed(1)} ${unit}`;
}

const SPANS = [
  { unit: "d", ms: 86_400_000 },
  { unit: "h", ms: 3_600_000 },
  { unit: "m", ms: 60_000 },
  { unit: "s", ms: 1_000 },
] as const;

/** "850 ms", "6.1 s", "2 m 13 s", "3 d 4 h": the two largest units. */
export function span(ms: number): string {
  const left = Math.max(0, Math.round(ms));
  if (left < 1_000) return `${left} ms`;
  if (left < 60_000) return `${Math.floor(left / 100) / 10} s`;
  const at = SPANS.findIndex((unit) => left >= unit.ms);
  const [large, small] = [SPANS[at], SPANS[at + 1]];
  if (large === undefined || small === undefined) return `${left} ms`;
  const rest = Math.floor((left % large.ms) / small.ms);
  const whole = `${Math.floor(left / large.ms)} ${large.unit}`;
  return rest === 0 ? whole : `${whole} ${rest} ${small.unit}`;
}

/** As `span`, but seconds to the millisecond: in a timeline the small steps count. */
export const exactSpan = (ms: number): string =>
  ms >= 1_000 && ms < 60_000 ? `${(ms / 1_000).toFixed(3)} s` : span(ms);

/** ISO 8601 in local time, to the millisecond: "2025-01-31T09:05:00.250". */
export const localTime = (atMs: number, utcOffsetMinutes: number): string =>
  new Date(atMs + utcOffsetMinutes * 60_000).toISOString().slice(0, -1);

/** The same, to the second and with the zone: "2025-01-31T09:05:00+01:00". */
export function zonedTime(atMs: number, utcOffsetMinutes: number): string {
  const sign = utcOffsetMinutes < 0 ? "-" : "+";
  const minutes = Math.abs(utcOffsetMinutes);
  const two = (value: number): string => String(value).padStart(2, "0");
  const zone = `${sign}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
  return localTime(atMs, utcOffsetMinutes).slice(0, 19) + zone;
}
