package sdk

// GeneratedV3 is named by generated code, which so compiles only with a version of this package that it fits.
const GeneratedV3 = 3
