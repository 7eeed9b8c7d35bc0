// espalier tune: search plan space input by input; write the best plan, a policy, a report of regrets.

#include <fmt/core.h>

#include "apps/commands.h"
#include "apps/outputs.h"
#include "apps/tune.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

namespace espalier::apps {
namespace {

constexpr std::int64_t kUsualIterations = 2000;

bool names_input(const InputOptions& o) {
  return !(o.forests.empty() && o.trees.empty() && o.families.empty() && o.suites.empty() && o.block_tables.empty() &&
           o.traces.empty());
}

std::vector<Input> choose_inputs(const TuneCommand& command) {
  if (command.study.empty()) return load_inputs(command.inputs);
  if (command.study != "regret") throw core::usage_error(core::unknown_name("study", command.study, {"regret"}));
  if (names_input(command.inputs)) {
    throw core::usage_error("--study regret brings its own forests: leave the inputs away");
  }
  return regret_instances(command.inputs.seed);
}

}  // namespace

int run_tune(const TuneCommand& command) {
  require_outputs({{"--state", command.state},
                   {"--output", command.output},
                   {"--policy", command.policy},
                   {"--json", command.json}});
  TuneOptions options;
  options.compare.heads = choose_heads(command.heads);
  options.compare.devices = choose_devices(command.devices);
  if (options.compare.devices.size() != 1) throw core::usage_error("tune takes one device");
  options.compare.strategies = choose_strategies(command.strategy);
  options.compare.seed = command.inputs.seed;
  options.compare.jobs = command.jobs;
  options.iterations = command.iterations == 0 && command.seconds == 0 ? kUsualIterations : command.iterations;
  options.seconds = command.seconds;
  options.state = command.state;
  options.exact = command.exact;
  options.policy = !command.policy.empty();
  const std::vector<Input> inputs = choose_inputs(command);
  if (command.exact) {
    for (const Input& input : inputs) sim::require_small(input.forest, options.compare.devices.front());
  }
  if (!command.output.empty()) (void)only_input(inputs, command.inputs, "tune --output");
  scheduler::Plan best;
  const std::vector<TuneResult> results = tune(inputs, options, command.output.empty() ? nullptr : &best);

  if (!command.output.empty()) core::write_file(command.output, scheduler::write_plan(best));
  if (!command.policy.empty()) {
    const costmodel::DeviceSpec& device = options.compare.devices.front();
    scheduler::Policy policy{device.name, costmodel::device_hash(device), options.compare.heads.heads, {}};
    for (const TuneResult& result : results) policy.rows.push_back(result.policy);
    policy.rows = scheduler::condensed(policy.rows);
    core::write_file(command.policy, scheduler::write_policy(policy));
  }
  if (!command.json.empty()) core::write_file(command.json, write_tuning(results, options, command.command_line));
  const bool busy = command.output == "-" || command.policy == "-" || command.json == "-";
  if (!busy) fmt::print("{}", render_tuning(results, options, command.rows));
  return 0;
}

}  // namespace espalier::apps
