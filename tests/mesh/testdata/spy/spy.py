# Connects from and to addresses that it is told, and says how that went.
import http.server, socket, urllib.parse


class Spy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        q = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(self.path).query))
        s = socket.socket(socket.AF_INET6)
        s.settimeout(10)
        try:
            s.setsockopt(socket.IPPROTO_IPV6, 78, 1)  # IPV6_FREEBIND
            s.bind((q["from"], 0))
            s.connect((q["to"], int(q["port"])))
            said = "connected"
        except OSError as e:
            said = str(e)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(said.encode())


http.server.HTTPServer(("127.0.0.1", 3000), Spy).serve_forever()
