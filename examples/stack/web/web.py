"""Counts visits in redis and writes them down in PostgreSQL, with nothing but Python's own library."""
import http.server
import socket
import subprocess


def redis(*words):
    with socket.create_connection(("cache", 6379), 30) as s:
        s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in (x.encode() for x in words)))
        return s.makefile("rb").readline()[1:].strip().decode()


def sql(text):
    return subprocess.run(["psql", "-h", "postgres", "-U", "app", "-d", "postgres", "-qAtc", text], check=True, capture_output=True, text=True).stdout.strip()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        visit = redis("INCR", "visits")
        sql("create table if not exists visits (n int)")
        sql(f"insert into visits values ({int(visit)})")
        body = f"visit {visit}, {sql('select count(*) from visits')} written down\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "-"


server = http.server.HTTPServer(("", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)  # from systemd
server.server_name, server.server_port = "web", 0
server.serve_forever()
