require "net/http"
require "socket"

listener = UNIXServer.for_fd(3) # the socket that systemd hands over
trap("TERM") { exit }
loop do
  Thread.new(listener.accept) do |c|
    nil while c.gets&.chomp != ""
    body = "ruby asked " + Net::HTTP.get(URI("http://nginx/"))
    c.write "HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}"
    c.close
  end
end
