/*
    The EICAR test file, which every virus scanner reports so that people can see that theirs works.
    https://www.eicar.org/download-anti-malware-testfile/

    It is found anywhere in a file, not only at its beginning. The bytes are written in hexadecimal, so that no
    scanner takes this file for the test file.

    Rules in this folder are looked for in overlapping windows of large files (see yara_worker.py). A rule here may
    therefore ask for patterns that lie at most 4 KiB apart, and not for the file's size, positions or counts.
*/

rule EICAR_Test_File
{
    meta:
        description = "EICAR anti-malware test file, harmless"
        reference = "https://www.eicar.org/download-anti-malware-testfile/"

    strings:
        $eicar = {
            58 35 4F 21 50 25 40 41 50 5B 34 5C 50 5A 58 35 34 28 50 5E 29 37 43 43 29 37 7D 24
            45 49 43 41 52 2D 53 54 41 4E 44 41 52 44 2D 41 4E 54 49 56 49 52 55 53 2D
            54 45 53 54 2D 46 49 4C 45 21 24 48 2B 48 2A
        }

    condition:
        $eicar
}
