package vmtests

import "testing"

// Ordinary users run cells without root, and do not reach one another's.
func init() {
	scenario("users", oneGuest, func(t *testing.T, g *guest) {
		for _, user := range []string{"alice", "bob"} {
			g.misfit("/home/"+user+"/"+user+"s", user, "")
			if owner := g.run("stat -c %U /proc/" + g.pid(user+"s")); owner != user {
				t.Errorf("%s's cell runs as %s", user, owner)
			}
		}
		for _, attempt := range []string{
			"cell stop bobs", "cell apoptosis bobs", get("/home/bob/bobs", ""), "cat /home/bob/bobs/cell.toml", "kill $(systemctl show -P MainPID cell@bobs.service)",
			"cat /proc/$(systemctl show -P MainPID cell@bobs.service)/environ", "systemctl stop cell@bobs.service", "cell mitosis /home/bob/bobs",
		} {
			if out, code := g.within(patience, "alice", attempt); code == 0 {
				t.Errorf("alice may: %s\n%s", attempt, out)
			}
		}
		// Not from inside of her cell either.
		g.says(get("/home/alice/alices", "read?path=/home/bob/bobs/cell.toml"), "no such file")
		g.says(get("/home/bob/bobs", ""), "misfit 1 serve")
		g.as("alice", "cell apoptosis alices")
	})
}
