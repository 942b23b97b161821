-- Creates the database roles of workers and dashboard, with the minimum rights; psql runs this after
-- every migration.
\getenv workers_password WORKERS_PASSWORD
\getenv dashboard_password DASHBOARD_PASSWORD
SELECT format('CREATE ROLE %I LOGIN', role) FROM unnest(ARRAY['gradnoise_workers', 'gradnoise_dashboard']) AS role
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec
ALTER ROLE gradnoise_workers PASSWORD :'workers_password';
ALTER ROLE gradnoise_dashboard PASSWORD :'dashboard_password';

-- The workers write studies, trials and measurements, but cannot read tokens and logins.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO gradnoise_workers;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO gradnoise_workers;
REVOKE ALL ON gradnoise_token, gradnoise_login FROM gradnoise_workers;

-- The Optuna Dashboard can delete studies, so its role is read-only.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO gradnoise_dashboard;
