/** The local PostgreSQL transaction of an application: one row of its own, committed for good. */
import pg from "pg";

/** As many connections as a service's pool has, below PostgreSQL's default of 100 in all. */
export const POOL_SIZE = 32;

export const settings = ({ port }) => ({
  host: "127.0.0.1",
  port,
  user: "postgres",
  database: "postgres",
});

export class LocalDatabase {
  #pool;

  constructor(pool) {
    this.#pool = pool;
  }

  static async open(address) {
    const pool = new pg.Pool({ ...settings(address), max: POOL_SIZE });
    await pool.query("create table if not exists orders (id text primary key)");
    return new LocalDatabase(pool);
  }

  /** BEGIN, one row, what `more` does in the same transaction, COMMIT. */
  async placeOrder(id, more = async () => undefined) {
    const client = await this.#pool.connect();
    try {
      await client.query("begin");
      await client.query("insert into orders (id) values ($1)", [id]);
      await more(client);
      await client.query("commit");
    } finally {
      client.release();
    }
  }

  close() {
    return this.#pool.end();
  }
}
