// The commands behind `espalier`: each takes its options as plain data, prints results to stdout, returns an exit code.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/compare.h"
#include "apps/inputs.h"

namespace espalier::apps {

struct ListCommand {
  std::string what;  ///< strategies, cost-models, devices, kernels, families, suites, heads
  std::string name;  ///< one entry in full
};
int run_list(const ListCommand& command);

struct TraceCommand {
  InputOptions inputs;
  HeadOptions heads;
  std::vector<std::string> devices;
  std::string format = "forest";  ///< gen, import: forest, block-table
  std::string output = "-";
};
int run_trace_write(const TraceCommand& command);  ///< trace gen, trace import
int run_trace_info(const TraceCommand& command);

struct PlanCommand {
  InputOptions inputs;
  HeadOptions heads;
  std::vector<std::string> devices;
  std::string strategy;
  std::string policy;  ///< policy/1 file in place of a strategy
  std::string kernels = "ours";
  std::string cost_model;  ///< empty: the strategy's own
  std::string output = "-";
};
int run_plan(const PlanCommand& command);

/// check, sim, run: one plan file.
struct PlanFileCommand {
  std::string plan;
  std::vector<std::string> devices;  ///< empty: the one the plan was made for
  std::string backend = "interpret";
  std::string json;
  std::string perfetto;
  std::uint64_t seed = 1;
  std::int32_t repeats = 5;          ///< host and cuda backends: timed runs
  std::int32_t steps = 0;            ///< cuda and emulate backends: of a batch that decodes; 0: the plan as it is
  bool no_check = false;             ///< cuda backend
  std::string kernel_path = "auto";  ///< cuda and emulate backends: plain, bulk, wgmma
  bool force = false;
  bool explain = false;            ///< sim
  std::vector<std::string> given;  ///< run: names of the options that stand on the command line
};
int run_check(const PlanFileCommand& command);
int run_sim(const PlanFileCommand& command);
int run_execute(const PlanFileCommand& command);

struct ExportCommand {
  PlanFileCommand file;  ///< a plan; svg and csv take a forest, too
  std::string format;    ///< of export_formats()
  HeadOptions heads;     ///< of a forest; a plan has its own
  std::optional<std::int64_t> snapshot;
  std::string table;           ///< csv: tasks, nodes, requests; empty: tasks of a plan, nodes of a forest
  std::string theme = "auto";  ///< svg, png: light, dark, auto (the reader's preference; png: light)
  double scale = 2;            ///< png
  std::string font = "best";   ///< png: or builtin
  std::string beside;          ///< html, perfetto: a second plan
  std::string output = "-";
};
int run_export(const ExportCommand& command);

struct ViewCommand {
  std::string file;      ///< a plan or forests; empty: the inputs below, or the bundled example
  std::string measured;  ///< run/1 of that plan: side B
  InputOptions inputs;
  HeadOptions heads;
  std::vector<std::string> devices;  ///< of side A, of side B
  std::string strategy;              ///< of side A, or of both: a,b
  std::string render;                ///< PNG to write in place of a window
  std::string size = "1280x800";
  double scale = 1;
  bool gl = false;  ///< render with OpenGL in a hidden window
  std::string theme = "dark";
  std::string font = "best";   ///< or builtin: the same picture on every machine
  std::string select;          ///< node:3, request:7, task:12, merge:0
  std::string panel, insight;  ///< tabs to open
  std::string look;            ///< the rest of a view, see viz/explore/look_text.h
};
int run_view(const ViewCommand& command);

struct CompareCommand {
  InputOptions inputs;
  HeadOptions heads;
  std::vector<std::string> devices;
  std::string strategy = "all";
  std::string kernels = "ours";
  std::string cost_model;  ///< empty: each strategy's own, and all of them in a study
  std::string study;       ///< "cost-models", or empty
  std::string json, html, baseline, perfetto, perfetto_row;
  bool timing = true;
  bool rows = false;
  std::int32_t intervals = 3;
  std::int32_t jobs = 0;
  std::string command_line;
};
int run_compare(const CompareCommand& command);

struct CostTableCommand {
  HeadOptions heads;
  std::vector<std::string> devices;
  std::string kernels = "ours";
  std::string output = "-";
};
int run_cost_table(const CostTableCommand& command);

struct TuneCommand {
  InputOptions inputs;
  HeadOptions heads;
  std::vector<std::string> devices;
  std::string strategy = "all";
  std::int64_t iterations = 0;  ///< 0 and no time budget: a usual number
  double seconds = 0;
  std::string state, output, policy, json, study;
  bool exact = false;
  bool rows = false;
  std::int32_t jobs = 0;
  std::string command_line;
};
int run_tune(const TuneCommand& command);

struct MeasureCommand {
  InputOptions inputs;
  HeadOptions heads;
  std::vector<std::string> devices;
  std::string strategy = "all";      ///< most important first
  std::string folder;                ///< results.csv, results.md, measurement.json, plans
  bool check = false;                ///< rows against the oracle, times aside
  bool dry_run = false;              ///< plans and predictions only; needs no GPU
  std::string kernel_path = "auto";  ///< plain, bulk, wgmma
  bool fp32_rows = false;            ///< final rows in fp32; else as queries
  std::size_t begin = 0;             ///< plans before this one are left out
  double seconds = 0;
  std::int32_t repeats = 20;
  std::int32_t jobs = 0;
};
int run_measure(const MeasureCommand& command);

struct ValidateCommand {
  std::string published;             ///< published/1 file; or
  std::vector<std::string> from;     ///< measurement/1 files with plans, on one device; or
  bool force = false;                ///< also of other drivers and kernel builds
  std::vector<std::string> devices;  ///< "host", or the file of a calibrated one, with
  InputOptions inputs;
  HeadOptions heads;
  std::string strategy;  ///< empty: six that differ
  std::string json, svg;
  std::string output;  ///< from: the device with the intervals of these plans
  std::int32_t jobs = 0;
  std::int32_t repeats = 9;
};
int run_validate(const ValidateCommand& command);

struct CalibrateCommand {
  std::string device;             ///< "host": measure this machine; "cuda": its GPU; or
  std::vector<std::string> from;  ///< measurement/1 files to fit, with
  std::string base;               ///< the device whose data-sheet numbers go with them; empty: the catalog's that fits
  bool force = false;             ///< also of other devices, drivers, kernel builds
  std::string synthesize;         ///< or a device to make measurements of, with
  double noise = 0.02;
  std::uint64_t seed = 1;
  std::string json;  ///< cuda: measurement/1 file; the fit, too, where there is an output
  bool quick = false;
  double seconds = 0;
  std::string output = "-";
  std::int32_t repeats = 9;
};
int run_calibrate(const CalibrateCommand& command);

}  // namespace espalier::apps
