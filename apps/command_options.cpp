// What each command's options are called, and what is said of them.
#include "apps/command_options.h"

#include <CLI/CLI.hpp>

#include "apps/shared_options.h"

namespace espalier::apps {
namespace {

void add_list(CLI::App& app, Commands& c, int& code) {
  CLI::App* list =
      app.add_subcommand("list", "list strategies, cost models, devices, kernels, families, suites or heads");
  list->add_option("what", c.list.what, "strategies, cost-models, devices, kernels, families, suites, heads")
      ->required();
  list->add_option("name", c.list.name, "devices: one in full, with the source of every number; suites: one");
  list->callback([&] { code = run_list(c.list); });
}

void add_trace(CLI::App& app, Commands& c, int& code) {
  CLI::App* trace = app.add_subcommand("trace", "make, convert and describe forests");
  trace->require_subcommand(1);
  for (const auto& [name, help, options] :
       {std::tuple("gen", "write a generated forest", &c.gen),
        std::tuple("import", "convert an input to forest/1 or a block table", &c.import)}) {
    CLI::App* sub = trace->add_subcommand(name, help);
    add_inputs(*sub, options->inputs);
    sub->add_option("--format", options->format, "forest or block-table")->capture_default_str();
    sub->add_option("-o,--output", options->output, "file; - is stdout")->capture_default_str();
    sub->callback([&code, chosen = options] { code = run_trace_write(*chosen); });
  }
  CLI::App* info = trace->add_subcommand("info", "requests, depth, dedupe, sharing, KV bytes");
  add_inputs(*info, c.info.inputs);
  add_heads(*info, c.info.heads);
  add_device(*info, c.info.devices);
  info->callback([&] { code = run_trace_info(c.info); });
}

void add_plan(CLI::App& app, Commands& c, int& code) {
  CLI::App* plan = app.add_subcommand("plan", "make one plan and write it as plan/1");
  add_inputs(*plan, c.plan.inputs);
  add_heads(*plan, c.plan.heads);
  add_device(*plan, c.plan.devices);
  CLI::Option* strategy =
      plan->add_option("--strategy", c.plan.strategy, "strategy, with options as name:option=value");
  plan->add_option("--policy", c.plan.policy, "policy/1 file that chooses the strategy by the forest")
      ->excludes(strategy);
  plan->add_option("--kernels", c.plan.kernels, "ours or published")->capture_default_str();
  plan->add_option("--cost-model", c.plan.cost_model,
                   "for strategies that consult one: a name or table:FILE; the strategy's own otherwise")
      ->check(not_empty());
  plan->add_option("-o,--output", c.plan.output, "file; - is stdout")->capture_default_str();
  plan->callback([&] { code = run_plan(c.plan); });
}

void add_plan_files(CLI::App& app, Commands& c, int& code) {
  const auto common = [](CLI::App* sub, PlanFileCommand& o) {
    sub->add_option("plan", o.plan, "plan/1 file; - is stdin")->required();
    add_device(*sub, o.devices);
    return sub;
  };
  CLI::App* check = common(app.add_subcommand("check", "prove a plan right, or name what is wrong"), c.check);
  check->callback([&] { code = run_check(c.check); });

  CLI::App* sim = common(app.add_subcommand("sim", "simulate a plan on a device"), c.sim);
  sim->add_option("--json", c.sim.json, "write sim/1; - is stdout");
  sim->add_option("--perfetto", c.sim.perfetto, "write the timeline as trace events");
  sim->add_flag("--explain", c.sim.explain,
                "say where the time goes: SM time, critical path, what other hardware would buy");
  sim->callback([&] { code = run_sim(c.sim); });

  CLI::App* run = common(app.add_subcommand("run", "execute a plan and compare it with the oracle"), c.run);
  run->add_option("--backend", c.run.backend,
                  "interpret (fp64, exact), emulate (the GPU kernels' source on the host), host (this machine's cores, "
                  "timed) or cuda (timed)")
      ->capture_default_str();
  run->add_option("--seed", c.run.seed, "seed of queries and KV")
      ->check(CLI::Range(std::uint64_t{0}, kMostSeed))
      ->capture_default_str();
  run->add_option("--repeats", c.run.repeats, "host, cuda: timed runs (cuda: at least 20)")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  run->add_option("--steps", c.run.steps,
                  "cuda, emulate: so many decode steps of a batch that grows and changes, through launches captured "
                  "once; each step's rows are compared with the oracle")
      ->check(CLI::Range(1, 1000));
  run->add_option("--json", c.run.json,
                  "host, cuda: write the measurement as run/1; host: with its timeline, for view --measured");
  run->add_option("--kernel-path", c.run.kernel_path,
                  "cuda, emulate: plain (sm_80 and up), bulk (sm_90 and up), wgmma (sm_90a, tiles of 64 rows and more; "
                  "otherwise as bulk), auto (cuda: plain or bulk, by device; emulate: plain)")
      ->capture_default_str();
  run->add_flag("--no-check", c.run.no_check, "cuda: random tensors made on the spot, not compared with the oracle");
  run->add_option(
      "--timeline,--perfetto", c.run.perfetto,
      "host, cuda, emulate: write a run's timeline as trace events (cuda: of one more run; emulate: order only)");
  run->add_flag("--force", c.run.force, "run even if it takes many minutes");
  run->callback([&c, &code, run] {
    for (const CLI::Option* option : run->get_options([](const CLI::Option* o) { return o->count() > 0; })) {
      c.run.given.push_back(option->get_name());
    }
    code = run_execute(c.run);
  });
}

void add_export(CLI::App& app, Commands& c, int& code) {
  CLI::App* exported = app.add_subcommand("export", "draw or tabulate a plan or a forest, with no display needed");
  exported
      ->add_option("format", c.exported.format,
                   "svg or png (picture), html (page), csv (table), perfetto (timeline), dot (graph)")
      ->required();
  exported->add_option("file", c.exported.file.plan, "plan/1 file; svg, png and csv: or a forest; - is stdin")
      ->required();
  add_device(*exported, c.exported.file.devices);
  add_heads(*exported, c.exported.heads);
  exported->add_option("--snapshot", c.exported.snapshot, "the one of a forest file with several");
  exported->add_option("--beside", c.exported.beside,
                       "html, perfetto: a second plan beside the first; --device given twice: of each");
  exported->add_option("--table", c.exported.table, "csv: tasks, nodes or requests");
  exported
      ->add_option("--theme", c.exported.theme, "svg, png: light, dark, or auto (the reader's preference; png: light)")
      ->capture_default_str();
  exported->add_option("--scale", c.exported.scale, "png: pixels of a unit")
      ->check(finite(0.5, 4))
      ->capture_default_str();
  exported
      ->add_option("--font", c.exported.font, "png: best (of those installed) or builtin (the same on every machine)")
      ->capture_default_str();
  exported->add_option("-o,--output", c.exported.output, "file; - is stdout")->capture_default_str();
  exported->callback([&] { code = run_export(c.exported); });
}

void add_view(CLI::App& app, Commands& c, int& code) {
  CLI::App* view = app.add_subcommand(
      "view", "explore a batch in a window: forest, plan and timeline, linked; or draw that window into a file");
  view->add_option("file", c.view.file,
                   "plan/1 file, forests, a block table or a Mooncake trace; an example when nothing is given");
  view->add_option("--measured", c.view.measured,
                   "run/1 of the plan, as run --json writes it: side B, beside the plan's simulation; of this "
                   "machine's cores: with --device host");
  add_inputs(*view, c.view.inputs);
  add_heads(*view, c.view.heads);
  view->add_option("--device", c.view.devices, "device of side A; given twice, of side A and of side B")
      ->allow_extra_args(false);
  view->add_option("--strategy", c.view.strategy, "of side A, or of both: a,b:option=value");
  view->add_option("--render", c.view.render, "write the window as PNG, with no display needed; - is stdout");
  view->add_flag("--gl", c.view.gl, "render with OpenGL in a hidden window, as the screen would show it");
  view->add_option("--size", c.view.size, "window in pixels at scale 1")->capture_default_str();
  view->add_option("--scale", c.view.scale, "size of everything")->check(finite(0.5, 4))->capture_default_str();
  view->add_option("--theme", c.view.theme, "dark or light")->capture_default_str();
  view->add_option("--font", c.view.font, "best (of those installed) or builtin (the same on every machine)")
      ->capture_default_str();
  view->add_option("--select", c.view.select, "node:N, request:N, task:N or merge:N");
  view->add_option("--panel", c.view.panel, "timeline, tasks, nodes, requests or strategies");
  view->add_option("--insight", c.view.insight, "why, helps, roofline or fit");
  view->add_option(
      "--look", c.view.look,
      "the rest of a view as \"Copy its command\" says it: colour=bound,time=0.2:0.4,sides=1,decoded=16, …");
  view->callback([&] { code = run_view(c.view); });
}

void add_compare(CLI::App& app, Commands& c, int& code) {
  CLI::App* compare =
      app.add_subcommand("compare", "plan and simulate with several strategies; rank them; say which to use");
  add_inputs(*compare, c.compare.inputs);
  add_heads(*compare, c.compare.heads);
  add_device(*compare, c.compare.devices);
  compare->add_option("--strategy", c.compare.strategy, "all, or a list: a,b:option=value")->capture_default_str();
  compare->add_option("--kernels", c.compare.kernels, "ours (plans alone) or published (methods as shipped)")
      ->capture_default_str();
  compare
      ->add_option("--cost-model", c.compare.cost_model,
                   "for strategies that consult one: a list, e.g. linear,table:FILE, or all; each its own otherwise")
      ->check(not_empty());
  compare->add_option("--study", c.compare.study, "cost-models: how good each cost model is, and what its errors cost");
  compare->add_option("--json", c.compare.json, "write report/1; - is stdout");
  compare->add_option("--html", c.compare.html, "write a page: verdict, ranking, pictures, why; - is stdout");
  compare->add_option("--baseline", c.compare.baseline, "older report/1: list what changed");
  compare->add_option("--perfetto", c.compare.perfetto, "write one row's timeline as trace events");
  compare->add_option("--perfetto-row", c.compare.perfetto_row,
                      "strategy[@device[@input[@snapshot]]]; the fastest of the first input otherwise");
  compare->add_option("--jobs", c.compare.jobs, "threads; 0 is one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  compare
      ->add_option("--intervals", c.compare.intervals,
                   "fastest rows of each input that get an interval by the origins of the device's numbers")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  compare->add_flag("--rows", c.compare.rows, "print every snapshot's row");
  compare->add_flag("!--no-timing", c.compare.timing, "leave out host times, so that output is byte-identical");
  compare->callback([&] { code = run_compare(c.compare); });
}

void add_cost_table(CLI::App& app, Commands& c, int& code) {
  CLI::App* table = app.add_subcommand(
      "cost-table", "write simulated times of single tasks as cost_table/1, for --cost-model table:FILE");
  add_heads(*table, c.cost_table.heads);
  add_device(*table, c.cost_table.devices);
  table->add_option("--kernels", c.cost_table.kernels, "ours, or published: all of the catalog")->capture_default_str();
  table->add_option("-o,--output", c.cost_table.output, "file; - is stdout")->capture_default_str();
  table->callback([&] { code = run_cost_table(c.cost_table); });
}

void add_tune(CLI::App& app, Commands& c, int& code) {
  CLI::App* tune =
      app.add_subcommand("tune", "search for the fastest plan; say how far each strategy is from it; write a policy");
  add_inputs(*tune, c.tune.inputs);
  add_heads(*tune, c.tune.heads);
  add_device(*tune, c.tune.devices);
  tune->add_option("--strategy", c.tune.strategy, "strategies to begin from and to rank: all, or a list")
      ->capture_default_str();
  tune->add_option("--iterations", c.tune.iterations,
                   "plans to try for each input, those of a resumed search counted [2000]")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000'000}));
  tune->add_option("--time-budget", c.tune.seconds, "seconds, shared by the inputs")->check(finite(0.01, 1e7));
  tune->add_option("--state", c.tune.state, "file to resume from, when it exists, and to keep the search in");
  tune->add_option("-o,--output", c.tune.output, "write the best plan (one input); - is stdout");
  tune->add_option("--policy", c.tune.policy,
                   "write policy/1: workload features to strategy, options and kernels; - is stdout");
  tune->add_option("--study", c.tune.study, "regret: forty random forests in place of the inputs");
  tune->add_option("--json", c.tune.json, "write tune/1; - is stdout");
  tune->add_option("--jobs", c.tune.jobs, "inputs at a time; 0 is one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  tune->add_flag("--exact", c.tune.exact,
                 "then try or rule out every plan of a stated space (at most 8 nodes, 6 SMs: --device h100-sxm:sms=6)");
  tune->add_flag("--rows", c.tune.rows, "print every input's table");
  tune->callback([&] { code = run_tune(c.tune); });
}

void add_validate(CLI::App& app, Commands& c, int& code) {
  CLI::App* validate = app.add_subcommand("validate", "predicted against measured");
  validate->add_option("--published", c.validate.published,
                       "published/1 file: ratios between methods, read off a paper");
  validate->add_option("--from", c.validate.from,
                       "measurement/1 files with plans that ran on a GPU; --device is its calibrated one");
  validate->add_flag("--force", c.validate.force,
                     "take measurements and device files of unlike devices, drivers or kernel builds");
  add_device(*validate, c.validate.devices);
  add_inputs(*validate, c.validate.inputs);
  add_heads(*validate, c.validate.heads);
  validate->add_option("--strategy", c.validate.strategy, "host: strategies to run; six that differ otherwise");
  validate
      ->add_option("--repeats", c.validate.repeats, "host: timed runs of each plan, enough to tell what disturbed them")
      ->check(CLI::Range(8, 10000))
      ->capture_default_str();
  validate->add_option("--svg", c.validate.svg, "host, from: scatter plot of predicted against measured");
  validate->add_option("--json", c.validate.json, "write the scores; - is stdout");
  validate->add_option("--out", c.validate.output,
                       "from: write the device with the intervals that these plans give its times; - is stdout");
  validate->add_option("--jobs", c.validate.jobs, "threads; 0 is one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  validate->callback([&] { code = run_validate(c.validate); });
}

void add_measure(CLI::App& app, Commands& c, int& code) {
  CLI::App* measure =
      app.add_subcommand("measure", "plan and run on this machine's GPU: many inputs by many strategies");
  add_inputs(*measure, c.measure.inputs);
  add_heads(*measure, c.measure.heads);
  add_device(*measure, c.measure.devices);
  measure
      ->add_option("--strategy", c.measure.strategy,
                   "strategies, most important first: each runs on all inputs before the next")
      ->capture_default_str();
  measure
      ->add_option("-o,--out", c.measure.folder, "folder for results.csv, results.md, measurement.json and the plans")
      ->required();
  measure->add_flag("--check", c.measure.check, "compare rows with the oracle (small inputs); keeps no times");
  measure->add_flag("--dry-run", c.measure.dry_run, "plan, predict, see what fits memory; needs no GPU");
  measure
      ->add_option("--kernel-path", c.measure.kernel_path,
                   "plain (sm_80 and up), bulk (sm_90 and up), wgmma (sm_90a), auto (plain or bulk, by device)")
      ->capture_default_str();
  measure->add_flag("--fp32-rows", c.measure.fp32_rows, "final rows in fp32; in the queries' type otherwise");
  measure->add_option("--begin", c.measure.begin, "leave out as many plans: where a run that lost its device goes on");
  measure->add_option("--seconds", c.measure.seconds, "begin no plan later")->check(finite(0));
  measure->add_option("--repeats", c.measure.repeats, "timed runs of each plan, 20 at least")
      ->check(CLI::Range(20, 10000))
      ->capture_default_str();
  measure->add_option("--jobs", c.measure.jobs, "threads that plan; 0 is one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  measure->callback([&] { code = run_measure(c.measure); });
}

void add_calibrate(CLI::App& app, Commands& c, int& code) {
  CLI::App* calibrate =
      app.add_subcommand("calibrate", "fit a device: from microbenchmark files, or by measuring this machine");
  calibrate->add_option("--device", c.calibrate.device, "host: measure this machine [the default]; cuda: its GPU");
  calibrate->add_option("--repeats", c.calibrate.repeats, "host: of each measurement; the fastest counts")
      ->check(CLI::Range(2, 10000))
      ->capture_default_str();
  calibrate->add_option("--json", c.calibrate.json, "cuda: write the times, a measurement/1 file; - is stdout");
  calibrate->add_flag("--quick", c.calibrate.quick, "cuda: only what shows numbers of the device, no long loads");
  calibrate->add_option("--seconds", c.calibrate.seconds, "cuda: begin no benchmark later; the most telling come first")
      ->check(finite(0));
  CLI::Option* from =
      calibrate->add_option("--from", c.calibrate.from, "measurement/1 files of one device; - is stdin");
  calibrate->add_option(
      "--base", c.calibrate.base,
      "device whose numbers stay where the files can't tell; the catalog's that reports the same otherwise");
  calibrate->add_flag("--force", c.calibrate.force, "take files of unlike devices, drivers or kernel builds")
      ->needs(from);
  CLI::Option* synthesize = calibrate->add_option(
      "--synthesize", c.calibrate.synthesize, "device: write the measurements it would give if the model were right");
  calibrate->add_option("--noise", c.calibrate.noise, "synthesize: relative standard deviation of a repeat")
      ->needs(synthesize)
      ->check(finite(0, 1))
      ->capture_default_str();
  calibrate->add_option("--seed", c.calibrate.seed, "of noise and bootstrap draws")
      ->check(CLI::Range(std::uint64_t{0}, kMostSeed))
      ->capture_default_str();
  calibrate
      ->add_option("-o,--out,--output", c.calibrate.output, "device/1 file (synthesize: measurement/1); - is stdout")
      ->capture_default_str();
  calibrate->callback([&] { code = run_calibrate(c.calibrate); });
}

}  // namespace

void add_commands(CLI::App& app, Commands& c, int& code) {
  add_list(app, c, code);
  add_trace(app, c, code);
  add_plan(app, c, code);
  add_plan_files(app, c, code);
  add_export(app, c, code);
  add_view(app, c, code);
  add_compare(app, c, code);
  add_cost_table(app, c, code);
  add_tune(app, c, code);
  add_validate(app, c, code);
  add_measure(app, c, code);
  add_calibrate(app, c, code);
}

}  // namespace espalier::apps
