#!/usr/bin/env -S node --max-semi-space-size=16 --initial-old-space-size=256
// Stands in the repository, so that npm can link `escrow` before anything is built.
import "../dist/main.js";
