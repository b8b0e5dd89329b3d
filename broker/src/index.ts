/** The EscrowMQ broker, to be run by the CLI or embedded. */
export { DEFAULT_POLICY, type Policy } from "./core/policy.ts";
export type { GroupPolicy } from "./core/records.ts";
export type { Broker } from "./server/broker.ts";
export type { Clock, Timer } from "./server/clock.ts";
export { createBroker } from "./server/create-broker.ts";
export type { LogLevel } from "./server/log.ts";
export type { BrokerOptions } from "./server/options.ts";
export type { SessionEvents, Socket } from "./server/session.ts";
export { VERSION } from "./server/version.ts";
export { verifyStore } from "./store/level-store.ts";
