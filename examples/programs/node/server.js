const http = require("http");

const server = http.createServer((_, answer) => {
  http.get("http://nginx/", (from) => {
    let text = "";
    from.on("data", (part) => (text += part)).on("end", () => answer.end("node asked " + text));
  }).on("error", (e) => answer.writeHead(502).end(e.message + "\n"));
});
server.listen({ fd: 3 }); // the socket that systemd hands over
process.on("SIGTERM", () => server.close(() => process.exit()));
