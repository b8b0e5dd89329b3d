/**
 * What is measured beside what. Each system with its own defaults, and with fsync where it has it;
 * `durability` stands in each table, because figures without it compare nothing.
 *
 * - adapter: the file in adapters/. servers: what peers.sh starts for it, in this order, besides what
 *   the adapter starts itself. variant: what the adapter and peers.sh are told.
 */
export const SYSTEMS = [
  {
    name: "escrowmq",
    title: "EscrowMQ",
    adapter: "escrowmq",
    servers: [],
    durability: "fsync of each block before ok",
  },
  {
    name: "nats",
    title: "NATS JetStream",
    adapter: "nats",
    servers: ["nats"],
    durability: "file; fsync every 2 min (default)",
  },
  {
    name: "nats-fsync",
    title: "NATS JetStream",
    adapter: "nats",
    servers: ["nats-fsync"],
    durability: "fsync before ok (sync_interval: always)",
  },
  {
    name: "redis",
    title: "Redis Streams",
    adapter: "redis",
    servers: ["redis"],
    durability: "appendonly; fsync every second (default)",
  },
  {
    name: "redis-fsync",
    title: "Redis Streams",
    adapter: "redis",
    servers: ["redis-fsync"],
    durability: "appendonly; fsync before ok (always)",
  },
  {
    name: "rabbitmq-quorum",
    title: "RabbitMQ quorum",
    adapter: "rabbitmq",
    variant: "quorum",
    servers: ["rabbitmq"],
    durability: "fsync of the Raft log before confirm",
  },
  {
    name: "rabbitmq-classic",
    title: "RabbitMQ classic",
    adapter: "rabbitmq",
    variant: "classic",
    servers: ["rabbitmq"],
    durability: "fsync of the message store before confirm",
  },
  {
    name: "outbox",
    title: "PostgreSQL outbox + RabbitMQ",
    adapter: "outbox",
    variant: "quorum",
    servers: ["postgresql", "rabbitmq"],
    durability: "fsync of each commit, then of the Raft log",
  },
];
