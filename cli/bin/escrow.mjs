#!/usr/bin/env node
// Stands in the repository, so that npm can link `escrow` before anything is built.
import "../dist/main.js";
