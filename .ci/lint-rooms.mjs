// Part of `npm run lint`: holds the imports to the rooms of .dependency-cruiser.mjs.
// dependency-cruiser passes when it cannot read the sources: it then finds no files. So too few files are a failure, too.
import { cruise, format } from "dependency-cruiser";
import extractDepcruiseOptions from "dependency-cruiser/config-utl/extract-depcruise-options";

const fewestFiles = 100;

const options = await extractDepcruiseOptions("./.dependency-cruiser.mjs");
const { output: result } = await cruise(["src", "test", "bench"], options);
const { output, exitCode } = await format(result, { outputType: "err" });
process.stdout.write(output);
const inSrc = result.modules.filter(({ source }) => source.startsWith("src/")).length;
if (inSrc < fewestFiles) {
  console.error(
    `lint: only ${inSrc} files of src/ were read, ${fewestFiles} at least are expected: is @swc/core installed?`,
  );
}
process.exitCode = exitCode > 0 || inSrc < fewestFiles ? 1 : 0;
