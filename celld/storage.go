package celld

// storageEnforced says whether a cell's directory is held to its storage limit.
func storageEnforced(dir string, limit int64) string {
	return "no: not enforced yet"
}
