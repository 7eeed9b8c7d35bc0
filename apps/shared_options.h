// Options that several commands have: inputs, heads, devices; and what bounds the numbers that options take.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "apps/commands.h"

namespace CLI {
class App;
class Validator;
}  // namespace CLI

namespace espalier::apps {

/// Seeds appear in files as signed integers.
constexpr std::uint64_t kMostSeed = (std::uint64_t{1} << 63) - 1;

/// For every real option. CLI::Range lets nan through, which is neither below nor above anything.
CLI::Validator finite(double low, double high = std::numeric_limits<double>::max());

/// For names whose lack means something else than an empty text.
CLI::Validator not_empty();

void add_inputs(CLI::App& app, InputOptions& o);
void add_heads(CLI::App& app, HeadOptions& o);
void add_device(CLI::App& app, std::vector<std::string>& devices);

}  // namespace espalier::apps
