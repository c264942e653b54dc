package sdk

// GeneratedV1 is named by generated code, which so compiles only with a version of this package that it fits.
const GeneratedV1 = 1
