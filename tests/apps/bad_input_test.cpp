// Bad input: one clear sentence on stderr, the exit code of its kind, nothing half-written.

#include <fmt/core.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "command.h"

namespace espalier::apps {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class BadInput : public CommandTest {
 protected:
  void expect(const std::string& arguments, int code, const std::vector<std::string>& sentence_parts) const {
    const Result r = run(arguments);
    EXPECT_EQ(r.code, code) << arguments << "\n" << r.err;
    EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << "one sentence, not:\n" << r.err;
    for (const std::string& part : sentence_parts) EXPECT_THAT(r.err, HasSubstr(part)) << arguments;
  }
  void snapshot(const std::string& parent, const std::string& tokens, const std::string& leaf) const {
    write("f.jsonl", R"({"name":"f","snapshot":0,"note":"","parent":)" + parent + R"(,"tokens":)" + tokens +
                         R"(,"leaf":)" + leaf + "}\n");
  }
};

TEST_F(BadInput, MissingFile) { expect("trace info --forest no.jsonl", 3, {"no.jsonl", "No such file"}); }

TEST_F(BadInput, TruncatedGzip) {
  write("whole.jsonl", R"({"name":"f","snapshot":0,"note":"","parent":[-1],"tokens":[5],"leaf":[0]})");
  ASSERT_EQ(
      std::system(
          ("cd '" + folder_.string() + "' && gzip whole.jsonl && head -c 40 whole.jsonl.gz > cut.jsonl.gz").c_str()),
      0);
  expect("trace info --forest cut.jsonl.gz", 3, {"cut.jsonl.gz", "cut off"});
  EXPECT_EQ(run("trace info --forest whole.jsonl.gz").code, 0);
}

TEST_F(BadInput, MalformedJsonNamesLine) {
  write(
      "f.jsonl",
      "{\"name\":\"f\",\"snapshot\":0,\"note\":\"\",\"parent\":[-1],\"tokens\":[5],\"leaf\":[0]}\n{\"name\": oops}\n");
  expect("trace info --forest f.jsonl", 3, {"f.jsonl:2", "JSON"});
}

TEST_F(BadInput, WrongTypeNamesPathExpectedAndGot) {
  snapshot("[-1,0]", "[5,\"six\"]", "[1]");
  expect("trace info --forest f.jsonl", 3, {"f.jsonl:1", "tokens[1]", "integer", "six"});
}

TEST_F(BadInput, UnknownKeyIsNamed) {
  write("f.jsonl", R"({"name":"f","snapshot":0,"note":"","parent":[-1],"tokens":[5],"leaf":[0],"leafs":[0]})");
  expect("trace info --forest f.jsonl", 3, {"leafs"});
}

TEST_F(BadInput, CyclicParents) {
  snapshot("[1,2,1]", "[5,6,7]", "[0]");
  expect("trace info --forest f.jsonl", 3, {"f.jsonl", "parent"});
}

TEST_F(BadInput, DanglingParent) {
  snapshot("[-1,9]", "[5,6]", "[1]");
  expect("trace info --forest f.jsonl", 3, {"parent[1]", "9"});
}

TEST_F(BadInput, DanglingLeaf) {
  snapshot("[-1,0]", "[5,6]", "[7]");
  expect("trace info --forest f.jsonl", 3, {"leaf[0]", "7"});
}

TEST_F(BadInput, NegativeTokens) {
  snapshot("[-1,0]", "[5,-6]", "[1]");
  expect("trace info --forest f.jsonl", 3, {"tokens[1]", "-6"});
}

TEST_F(BadInput, AbsurdTokens) {
  snapshot("[-1]", "[99999999999999]", "[0]");
  expect("trace info --forest f.jsonl", 3, {"tokens[0]", "99999999999999"});
}

TEST_F(BadInput, BillionTokensDontOverflow) {
  snapshot("[-1,0,0]", "[1000000000,1000000000,1000000000]", "[1,2]");
  const Result r = run("trace info --forest f.jsonl --model deepseek-v3");
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, HasSubstr("3000000000 (4000000000 logical)"));
  EXPECT_THAT(r.out, HasSubstr("does not fit"));
}

TEST_F(BadInput, RepeatedBlockTableId) {
  write("t.jsonl",
        "{\"schema\":\"block_table/"
        "1\",\"page_size\":16}\n{\"id\":7,\"tokens\":20,\"pages\":[1,2]}\n{\"id\":7,\"tokens\":20,\"pages\":[1,3]}\n");
  expect("trace info --block-table t.jsonl", 3, {"t.jsonl:3", "7"});
}

TEST_F(BadInput, AnotherPageSizeThanTheInputs) {
  write("t.jsonl",
        "{\"schema\":\"block_table/1\",\"page_size\":16}\n{\"id\":7,\"tokens\":20,\"pages\":[41,42]}\n"
        "{\"id\":8,\"tokens\":20,\"pages\":[41,43]}\n");
  ASSERT_EQ(run("trace import --block-table t.jsonl -o f.json").code, 0);
  for (const char* input : {"--block-table t.jsonl", "--forest f.json"}) {
    for (const char* size : {"1", "32"}) {
      expect(fmt::format("plan {} --page-size {} --strategy codec", input, size), 2,
             {fmt::format("--page-size {}", size), "comes with pages of 16 tokens"});
    }
    EXPECT_EQ(run(fmt::format("plan {} --strategy codec -o own.json", input)).code, 0);
    EXPECT_EQ(run(fmt::format("plan {} --page-size 16 --strategy codec -o same.json", input)).code, 0);
    EXPECT_THAT(read("same.json"), HasSubstr("43"));
    EXPECT_EQ(read("own.json"), read("same.json")) << "the same pages, said twice";
    EXPECT_THAT(run(fmt::format("trace info {} --page-size 32", input)).out, HasSubstr("at page 32"))
        << "says what another engine could share";
  }
}

TEST_F(BadInput, UnknownNamesSuggestTheNearest) {
  expect("compare --tree '1,2|64,8' --strategy codecc", 2, {"strategy 'codecc'", "did you mean 'codec'"});
  expect("compare --tree '1,2|64,8' --device h100sxm", 2, {"device 'h100sxm'", "did you mean 'h100-sxm'"});
  expect("compare --family doc_aq", 2, {"family 'doc_aq'", "did you mean 'doc_qa'"});
  expect("compare --suite pat2", 2, {"suite 'pat2'", "did you mean 'pat20'"});
  expect("compare --suite pat20/3", 2, {"'pat20/3'", "did you mean 'pat20/03'"});
  expect("list suites ft16", 2, {"suite 'ft16'", "did you mean 'ft15'"});
  expect("compare --tree '1,2|64,8' --model llama3-9b", 2, {"'llama3-9b'", "did you mean 'llama3-8b'"});
  expect("compare --tree '1,2|64,8' --device h100-sxm:hbm_gpbs=4000", 2, {"hbm_gpbs", "did you mean 'hbm_gbps'"});
}

TEST_F(BadInput, ZeroRequests) {
  snapshot("[-1]", "[5]", "[]");
  expect("compare --forest f.jsonl", 3, {"at least one request"});
  expect("trace info --forest f.jsonl", 3, {"at least one request"});
}

TEST_F(BadInput, PlanWhoseHashDoesNotMatch) {
  ASSERT_EQ(run("plan --tree '1,2|64,8' --strategy codec -o p.json").code, 0);
  std::string text = read("p.json");
  const auto at = text.find("\"tokens\"");
  ASSERT_NE(at, std::string::npos);
  const auto digit = text.find("64", at);
  ASSERT_NE(digit, std::string::npos);
  text.replace(digit, 2, "65");
  write("p.json", text);
  for (const char* command : {"check p.json", "sim p.json", "run p.json"}) expect(command, 3, {"p.json", "hash"});
}

TEST_F(BadInput, HeadsThatDoNotDivide) { expect("compare --tree '1,2|64,8' --heads 32/7/128", 2, {"32", "7"}); }

TEST_F(BadInput, UsageErrors) {
  expect("compare", 2, {"no input"});
  expect("compare --tree '1,2|64'", 2, {"1,2|64"});
  expect("compare --tree 'x|y'", 2, {"x|y"});
  expect("frobnicate", 2, {"frobnicate"});
  expect("comprae", 2, {"did you mean 'compare'"});
  expect("compare --tree '1,2|64,8' --jobs -3", 2, {"jobs"});
  expect("compare --tree '1,2|64,8' --device h100", 2, {"did you mean 'h100-sxm'"});
  expect("compare --tree '1,2|64,8' --no-such-flag", 2, {"no-such-flag"});
  expect("compare --tree '1,2|64,8' --page-size 0", 2, {"page-size"});
  expect("list planets", 2, {"planets"});
}

TEST_F(BadInput, SeveralForestsWhereOneIsWanted) {
  write("two.jsonl",
        "{\"parent\":[-1],\"tokens\":[64],\"leaf\":[0]}\n{\"parent\":[-1],\"tokens\":[65],\"leaf\":[0]}\n");
  for (const char* command : {"plan --strategy codec", "tune -o p.json", "trace gen", "trace import"}) {
    const auto takes_one = [&](const std::string& input, const std::string& how) {
      expect(fmt::format("{} {}", command, input), 2, {"takes one forest, got", how});
    };
    takes_one("--suite pat20", "got 20: pick one, as in --suite pat20/01");
    takes_one("--forest two.jsonl", "got 2: pick one with --snapshot");
    takes_one("--forest two.jsonl --snapshot 0 --tree '1,2|64,8'", "got 2: name one input");
  }
  EXPECT_EQ(run("plan --strategy codec --suite pat20/01 -o p.json").code, 0);
}

TEST_F(BadInput, NamesGivenTwiceOrEmpty) {
  expect("compare --tree '1,2|64,8' --strategy pat:splits=3,splits=4", 2,
         {"strategy pat: option splits is given twice"});
  expect("compare --tree '1,2|64,8' --strategy pat,codec,pat", 2, {"--strategy: pat is named twice"});
  expect("compare --tree '1,2|64,8' --cost-model ''", 2, {"--cost-model: expected a name, got ''"});
  expect("plan --tree '1,2|64,8' --strategy codec --cost-model ''", 2, {"--cost-model: expected a name, got ''"});
  EXPECT_EQ(run("compare --tree '1,2|64,8' --strategy pat,pat:splits=1,all").code, 0);
}

TEST_F(BadInput, RealOptionsAreFinite) {
  std::set<std::string> seen;
  for (const char* command : {"list", "trace gen", "trace import", "trace info", "plan", "check", "sim", "run",
                              "export", "view", "compare", "cost-table", "tune", "validate", "measure", "calibrate"}) {
    std::istringstream help(run(fmt::format("{} --help", command)).out);
    std::string option, type;
    for (std::string line; std::getline(help, line);) {
      if (!(std::istringstream(line) >> option >> type) || !option.starts_with("--") || !type.starts_with("FLOAT")) {
        continue;
      }
      seen.insert(fmt::format("{} {}", command, option));
      for (const char* value : {"nan", "-nan", "inf", "-inf", "1e999", "much"}) {
        expect(fmt::format("{} {}={}", command, option, value), 2,
               {fmt::format("{}: expected a number", option), fmt::format("got '{}'", value)});
      }
    }
  }
  EXPECT_EQ(seen, (std::set<std::string>{"calibrate --noise", "calibrate --seconds", "export --scale",
                                         "measure --seconds", "tune --time-budget", "view --scale"}));
  expect("view --scale 4.5", 2, {"--scale: expected a number from 0.5 to 4, got '4.5'"});
  expect("export png p.json --scale 0.4", 2, {"--scale: expected a number from 0.5 to 4, got '0.4'"});
  expect("measure --seconds -1", 2, {"--seconds: expected a number of at least 0, got '-1'"});
  EXPECT_EQ(run("calibrate --synthesize h100-sxm --noise 0 -o m.json").code, 0) << "ends belong to it";
}

TEST_F(BadInput, OptionsOfInputsThatAreNotThere) {
  expect("compare --tree '1,2|64,8' --snapshot 0", 2, {"--snapshot requires --forest"});
  expect("trace info --tree '1,2|64,8' --snapshot 7", 2, {"--snapshot requires --forest"});
  expect("compare --tree '1,2|64,8' --running 64", 2, {"--running requires --trace"});
  expect("plan --family rag --order prefix --strategy codec", 2, {"--order requires --trace"});
  for (const char* option : {"--sort-window 4", "--instances 2", "--routing random", "--samples 3"}) {
    expect(fmt::format("trace gen --family rag {}", option), 2, {"requires --trace"});
  }
}

TEST_F(BadInput, OptionsThatMeanNothingToABackend) {
  ASSERT_EQ(run("plan --tree '1,2|64,8' --strategy codec -o p.json").code, 0);
  const auto refused = [&](const std::string& backend, const std::string& option, const std::string& value) {
    expect(fmt::format("run p.json --backend {} {} {}", backend, option, value), 2,
           {option + " means nothing to --backend " + backend, "cuda"});
  };
  for (const char* backend : {"interpret", "emulate"}) {
    refused(backend, "--json", "r.json");
    refused(backend, "--repeats", "5");
    refused(backend, "--no-check", "");
  }
  refused("interpret", "--timeline", "t.json");
  refused("interpret", "--kernel-path", "bulk");
  refused("host", "--kernel-path", "plain");
  refused("host", "--no-check", "");
  expect("run p.json --perfetto t.json", 2, {"--timeline", "interpret", "emulate, host, cuda"});
  EXPECT_EQ(files(), 1U);
  EXPECT_EQ(run("run p.json --seed 3 --force").code, 0) << "options of every backend";
  EXPECT_EQ(run("run p.json --backend host --repeats 2 --json r.json --timeline t.json").code, 0);
}

TEST_F(BadInput, CompareThatNobodyServesFails) {
  snapshot("[-1]", "[1000000000]", "[0]");
  EXPECT_EQ(run("compare --forest f.jsonl --json r.json").code, 1);
  EXPECT_THAT(read("r.json"), HasSubstr("refused"));
}

TEST_F(BadInput, WrongBaselineOrRowIsFoundBeforeAnythingIsWritten) {
  write("b.json", R"({"schema":"plan/1"})");
  expect("compare --tree '1,2|64,8' --json r.json --baseline b.json", 3, {"report/1"});
  expect("compare --tree '1,2|64,8' --json r.json --perfetto t.json --perfetto-row nobody", 2, {"nobody"});
  expect("compare --tree '1,2|64,8' --perfetto-row codec", 2, {"--perfetto"});
  EXPECT_FALSE(exists("r.json"));
  EXPECT_FALSE(exists("t.json"));
}

TEST_F(BadInput, FullStdoutIsNoticed) { EXPECT_EQ(run("list devices >/dev/full; exit $? #").code, 3); }

TEST_F(BadInput, InvalidPlanWithARightHashIsNamedNotACrash) {
  ASSERT_EQ(run("plan --tree '1,2|64,8' --strategy codec -o p.json").code, 0);
  std::string text = read("p.json");
  const std::string column = "\"token_begin\": [0", key = "\"hash\": \"";
  const auto at = text.find(column);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, column.size(), "\"token_begin\": [100000");
  write("p.json", text);
  const std::string err = run("check p.json").err;  // names the hash of the content
  const auto want = err.find("expected hash ");
  ASSERT_NE(want, std::string::npos) << err;
  text.replace(text.find(key) + key.size(), 16, err.substr(want + 14, 16));
  write("p.json", text);
  for (const char* command : {"check p.json", "sim p.json", "run p.json", "export dot p.json"}) {
    const Result r = run(command);
    EXPECT_EQ(r.code, 1) << command << r.err;
    EXPECT_THAT(r.out + r.err, HasSubstr("segment_outside_node")) << command;
  }
  for (const char* command : {"sim p.json", "run p.json", "export dot p.json"}) {
    expect(command, 1, {"not valid on h100-sxm: segment_outside_node (", "more violation", ": check lists all"});
    EXPECT_EQ(run(command).err.find("segment_outside_node"), run(command).err.rfind("segment_outside_node")) << command;
  }
}

TEST_F(BadInput, PlanThatNamesAFileAsItsDeviceDoesntOpenIt) {
  write("secret.json", "a secret");
  ASSERT_EQ(run("plan --tree '1,2|64,8' --strategy codec -o p.json").code, 0);
  std::string text = read("p.json");
  const std::string device = "\"device\": \"h100-sxm\"", key = "\"hash\": \"";
  const auto at = text.find(device);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, device.size(), "\"device\": \"secret.json\"");
  write("p.json", text);
  const std::string err = run("check p.json").err;
  const auto want = err.find("expected hash ");
  ASSERT_NE(want, std::string::npos) << err;
  text.replace(text.find(key) + key.size(), 16, err.substr(want + 14, 16));
  write("p.json", text);
  for (const char* command : {"check p.json", "sim p.json", "export html p.json", "export html p.json --beside p.json",
                              "view p.json --render z.png"}) {
    const Result r = run(command);
    EXPECT_THAT(r.err, HasSubstr("--device")) << command << r.err;
    EXPECT_THAT(r.err, Not(HasSubstr("last read"))) << command;
    EXPECT_NE(r.code, 0) << command;
  }
  EXPECT_EQ(run("sim p.json --device h100-sxm").code, 0);
}

TEST_F(BadInput, UnwritableOutputLeavesNothing) {
  expect("plan --tree '1,2|64,8' --strategy codec -o no/such/folder/p.json", 3, {"no/such/folder/p.json"});
  EXPECT_EQ(files(), 0U);
}

TEST_F(BadInput, OutputsThatCannotBeWrittenAreFoundBeforeAnyWork) {
  write("file", "precious");
  // What is read first doesn't exist either: the sentence names what was looked at first.
  for (const char* command :
       {"sim no.json --json", "sim no.json --perfetto", "run no.json --backend host --json",
        "run no.json --backend host --timeline", "compare --forest no.jsonl --json", "compare --forest no.jsonl --html",
        "compare --forest no.jsonl --perfetto", "tune --forest no.jsonl --state", "tune --forest no.jsonl -o",
        "tune --forest no.jsonl --policy", "tune --forest no.jsonl --json", "validate --published no.json --json",
        "validate --from no.json --device h100-sxm --svg", "validate --from no.json --device h100-sxm --out",
        "calibrate --from no.json -o", "calibrate --synthesize no-device -o", "calibrate --device cuda --json"}) {
    expect(fmt::format("{} no/such/folder/f", command), 3, {"no/such/folder/f: expected a writable file", "No such"});
    expect(fmt::format("{} file/f", command), 3, {"file/f: expected a writable file", "Not a directory"});
    expect(fmt::format("{} .", command), 3, {".: expected a writable file, got a folder"});
  }
  expect("measure --tree '1,2|64,8' --dry-run -o file", 3, {"file: expected a folder"});
  EXPECT_EQ(read("file"), "precious");
  EXPECT_EQ(files(), 1U);
}

TEST_F(BadInput, TwoDocumentsIntoOnePlace) {
  const auto refused = [&](const std::string& command, const std::string& a, const std::string& b) {
    const std::string both = fmt::format("{} and {} would both write to", a, b);
    expect(fmt::format("{} {} - {} -", command, a, b), 2, {both + " stdout"});
    expect(fmt::format("{} {} f {} f", command, a, b), 2, {both + " f"});
    expect(fmt::format("{} {} f {} \"$PWD/./f\"", command, a, b), 2, {both, "/./f"});
  };
  refused("sim no.json", "--json", "--perfetto");
  refused("run no.json --backend host", "--json", "--timeline");
  refused("compare --forest no.jsonl", "--json", "--html");
  refused("compare --forest no.jsonl --json r.json", "--html", "--perfetto");
  refused("tune --forest no.jsonl", "--state", "--output");
  refused("tune --forest no.jsonl", "--policy", "--json");
  refused("validate --from no.json", "--json", "--svg");
  refused("validate --from no.json --svg s.svg", "--json", "--out");
  expect("calibrate --device cuda --json f -o f", 2, {"--json and --out would both write to f"});
  EXPECT_EQ(files(), 0U);
  EXPECT_EQ(run("compare --tree '1,2|64,8' --strategy codec --json - --html h.html").code, 0);
  EXPECT_EQ(run("compare --tree '1,2|64,8' --strategy codec --json /dev/null --html /dev/null").code, 0);
  EXPECT_EQ(run("calibrate --device cuda --json -").code, 4) << "without -o there is one document only";
}

TEST_F(BadInput, FailedCommandKeepsTheOldFile) {
  write("p.json", "precious");
  expect("plan --tree '2,4|64,8' --strategy bifurcated -o p.json", 1, {"bifurcated", "root"});
  EXPECT_EQ(read("p.json"), "precious");
  EXPECT_EQ(files(), 1U);
}

TEST_F(BadInput, MissingSnapshotSaysWhatThereIs) {
  snapshot("[-1]", "[5]", "[0]");
  expect("trace info --forest f.jsonl --snapshot 4", 3, {"f.jsonl", "4", "0"});
}

TEST_F(BadInput, NoCudaBackendOnThisMachine) {
  ASSERT_EQ(run("plan --tree '1,2|64,8' --strategy codec -o p.json").code, 0);
  expect("run p.json --backend cuda", 4, {"cuda"});
}

TEST_F(BadInput, ValidationNamesWhatItLacks) {
  expect("validate", 2, {"--published", "--device"});
  expect("validate --published no.json", 3, {"no.json"});
  expect("validate --device host", 2, {"no input"});
  expect("validate --device h100-sxm --tree '1,2|64,16'", 3, {"h100-sxm", "132 cores", "calibrate"});
  expect("validate --device host --tree '1,2|64,16' --repeats 7", 2, {"--repeats", "7"});
  expect("calibrate --device h100-sxm", 4, {"h100-sxm", "host"});
}

TEST_F(BadInput, NewerSchemaIsNamed) {
  write("p.json", R"({"schema":"plan/9"})");
  expect("check p.json", 3, {"plan/9", "plan/1"});
}

}  // namespace
}  // namespace espalier::apps
