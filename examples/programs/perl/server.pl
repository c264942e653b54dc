use strict;
use warnings;
use HTTP::Tiny;
use IO::Socket::UNIX;

my $listener = IO::Socket::UNIX->new_from_fd(3, "r+") or die $!;    # from systemd
while (my $c = $listener->accept) {
    while (defined(my $line = <$c>)) { last if $line =~ /^\r?\n$/ }
    my $body = "perl asked " . HTTP::Tiny->new->get("http://nginx/")->{content};
    print $c "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    close $c;
}
