/**
 * A dead endpoint is asked rarely, so that it costs its own group little and no other group anything (C4).
 *
 * Invariants
 * - After `failuresMax` failures in a row nothing is let through for `pauseMs`; then one trial at a time.
 * - Only an endpoint that fails is remembered; at most `endpointsMax` of them, the oldest forgotten first.
 */
export interface CircuitBreaker {
  /** Whether to ask now. True must be followed by `report`. */
  readonly admits: (endpoint: string) => boolean;
  /** Says whether the circuit has just opened or closed. */
  readonly report: (endpoint: string, wasReached: boolean) => "opened" | "closed" | "same";
}

type Circuit =
  | { readonly kind: "failing"; readonly failures: number }
  | { readonly kind: "open"; readonly untilMs: number }
  | { readonly kind: "trial"; readonly untilMs: number };

export function createCircuitBreaker(options: {
  readonly failuresMax: number;
  readonly pauseMs: number;
  readonly endpointsMax: number;
  readonly nowMs: () => number;
}): CircuitBreaker {
  const circuits = new Map<string, Circuit>();

  function admits(endpoint: string): boolean {
    const circuit = circuits.get(endpoint);
    if (circuit === undefined || circuit.kind === "failing") return true;
    const nowMs = options.nowMs();
    if (nowMs < circuit.untilMs) return false;
    // If the trial's report never comes, the next trial is one pause later.
    circuits.set(endpoint, { kind: "trial", untilMs: nowMs + options.pauseMs });
    return true;
  }

  function report(endpoint: string, wasReached: boolean): "opened" | "closed" | "same" {
    const circuit = circuits.get(endpoint);
    const wasOpen = circuit !== undefined && circuit.kind !== "failing";
    circuits.delete(endpoint);
    if (wasReached) return wasOpen ? "closed" : "same";
    const failures = circuit?.kind === "failing" ? circuit.failures + 1 : 1;
    circuits.set(endpoint, afterFailure(circuit, failures));
    forgetOldest();
    return !wasOpen && failures >= options.failuresMax ? "opened" : "same";
  }

  function afterFailure(circuit: Circuit | undefined, failures: number): Circuit {
    // A straggler that was under way when the circuit opened prolongs nothing.
    if (circuit?.kind === "open") return circuit;
    return circuit?.kind === "trial" || failures >= options.failuresMax
      ? { kind: "open", untilMs: options.nowMs() + options.pauseMs }
      : { kind: "failing", failures };
  }

  function forgetOldest(): void {
    const [oldest] = circuits.keys();
    if (circuits.size > options.endpointsMax && oldest !== undefined) circuits.delete(oldest);
  }

  return { admits, report };
}
