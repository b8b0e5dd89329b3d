/**
 * Events for tracing and metrics over `node:diagnostics_channel`, where the platform has it.
 * It is found at run time, so that a bundle for browsers holds no import of it. An event nobody
 * subscribed to costs one comparison: callers build its fields only when `isHeard`.
 */
export interface DiagnosticsChannel {
  readonly isHeard: boolean;
  publish(event: { readonly event: string; readonly [field: string]: unknown }): void;
}

const DEAF: DiagnosticsChannel = { isHeard: false, publish: () => undefined };

export function diagnosticsChannel(name: string): DiagnosticsChannel {
  if (typeof process === "undefined" || typeof process.getBuiltinModule !== "function") return DEAF;
  const channel = process.getBuiltinModule("node:diagnostics_channel")?.channel(name);
  if (channel === undefined) return DEAF;
  return {
    get isHeard() {
      return channel.hasSubscribers;
    },
    publish: (event) => channel.publish(event),
  };
}
