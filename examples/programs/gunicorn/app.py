import urllib.request


def app(environ, start):
    body = b"gunicorn asked " + urllib.request.urlopen("http://nginx/").read()
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]
