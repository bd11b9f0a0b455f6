// The rooms of src/, from the top of the house to the ground. A file imports from its own room and from rooms below it,
// never from a room above. docs/architecture.md has the same list as a drawing; a test compares the two.
export const rooms = [
  { name: "cli", is: "commands and flags", files: "cli(\\.ts$|/)" },
  { name: "commands", is: "what each command does", files: "commands/" },
  { name: "service", is: "the pipeline, wired", files: "service(\\.ts$|/)" },
  { name: "config", is: "environment to Config", files: "config(\\.ts$|/)" },
  { name: "http", is: "/healthz and /metrics", files: "http(\\.ts$|/)" },
  { name: "alerts", is: "record, judge, deliver, prune: the outbox", files: "alerts/" },
  { name: "inventory", is: "one's own certificates", files: "inventory/" },
  { name: "issuance", is: "what a certificate is", files: "issuance/" },
  { name: "feed", is: "certstream in", files: "feed/" },
  { name: "watchlist", is: "names that are watched", files: "watchlist/" },
  { name: "db", is: "how Postgres is reached", files: "db/" },
  { name: "log", is: "log lines", files: "log\\.ts$" },
  {
    name: "leaves",
    is: "import nothing",
    files: "((connect-options|loop|metrics|retry-after|terminal|version)\\.ts$|metrics/)",
  },
];

const inSrc = (files) => `^src/${files}`;
const everyRoom = `^src/(${[...rooms.map(({ files }) => files), "demo/"].join("|")})`;

/** @type {import("dependency-cruiser").IConfiguration} */
export default {
  forbidden: [
    ...rooms.slice(1).map(({ name, files }, above) => ({
      name: `${name} imports only from below`,
      severity: "error",
      from: { path: inSrc(files) },
      to: { path: rooms.slice(0, above + 1).map((room) => inSrc(room.files)) },
    })),
    {
      name: "the leaves import nothing of the project",
      severity: "error",
      from: { path: inSrc(rooms.at(-1).files) },
      to: { path: "^src/", pathNot: "^src/metrics/" },
    },
    {
      name: "demo is for the demo command, the tests and the benchmarks",
      severity: "error",
      from: { path: "^src/", pathNot: ["^src/demo/", "^src/commands/demo\\.ts$"] },
      to: { path: "^src/demo/" },
    },
    {
      name: "src imports neither tests nor benchmarks",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^(test|bench)/" },
    },
    { name: "no circles", severity: "error", from: {}, to: { circular: true } },
    { name: "every file has a room", severity: "error", from: {}, to: { path: "^src/", pathNot: everyRoom } },
  ],
  options: {
    // Types count: a type of a room above is an arrow back like any other.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    parser: "swc",
    doNotFollow: { path: "node_modules" },
    includeOnly: "^(src|test|bench)/",
  },
};
